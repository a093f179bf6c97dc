"""Word vectors: how fast ours and gensim's skip-gram read, and what their vectors are worth.

    python -m benchmarks.word_vectors
    python -m benchmarks.word_vectors --text novels.txt --pairs wordsim353.tsv --questions q.txt

Width 100, window 5, 5 negatives, words above a share of 1e-3 thinned out, words that come 5 times.
Speed: one pass through the text, in words of the text for each second; GloVe of ours beside them,
in pairs. Quality: --epochs passes with each of --seeds seeds, the same text and settings, then the
rank correlation on the pairs, the share of the questions answered right (of those whose words have
a vector), and the loss of negative sampling on the held-out text, of gensim's tables in our method.
gensim has one worker, which one more thread hands its jobs.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import add_options, new_parser, positive, report, require_peers, stoppable
from benchmarks.turns import Contender, race
from minissl.autograd.threads import engine_threads
from minissl.conditions import environment
from minissl.data import Kept
from minissl.data.word_tests import AnalogyQuestions, WordPairs, summary
from minissl.data.words import Words, WordTexts, to_stream
from minissl.pretrain.run import train
from minissl.pretrain.windows import BLOCK, WindowSettings
from minissl.pretrain.words.glove import GloVe
from minissl.pretrain.words.skipgram import SkipGram
from minissl.text.documents import split_documents
from minissl.text.words import words_of

OURS, THEIRS, GLOVE = "minissl skip-gram", "gensim skip-gram", "minissl GloVe"
QUALITIES = ("rank correlation", "questions right", "held-out loss")
GLOVE_STEPS = 50


@cache
def prepared(path: str) -> Words:
    """The text in words, a part of it held out."""
    return _read(path).prepare(Kept(), SkipGram.Settings())


def _read(path: str) -> WordTexts:
    return WordTexts.read(Path(path) if path else None, None)


@cache
def sentences(path: str) -> list[list[str]]:
    """The training part as gensim takes it."""
    return [words_of(document.text) for document in split_documents(_read(path).documents)[0]]


def num_words(path: str) -> int:
    """Of the training part, with those that have no vector."""
    return sum(map(len, sentences(path)))


def our_settings(path: str, epochs: int) -> WindowSettings:
    """The defaults, and as many steps as so many passes take."""
    blocks = SkipGram.build(SkipGram.Settings(), prepared(path)).passes.size
    of_a_step = SkipGram.Settings().batch_size // BLOCK
    return SkipGram.Settings(steps=max(1, round(epochs * blocks / of_a_step)))


def our_skipgram(
    path: str, epochs: int = 1, seed: int = 0, *, measured: bool = False
) -> Callable[[], SkipGram]:
    """From random vectors, ``epochs`` times through the text; ``measured``: with a held-out loss.

    gensim measures nothing on its way, so neither does ours where time is taken.
    """
    data, settings = prepared(path), our_settings(path, epochs)
    data = data if measured else replace(data, held_out=to_stream([]))

    def run() -> SkipGram:
        method = SkipGram.build(settings, data, seed=seed)
        train(method, settings, seed=seed, progress=False)
        return method

    return run


def gensim_skipgram(path: str, epochs: int = 1, seed: int = 0) -> Callable[[], Any]:
    """The same by gensim, with one worker."""
    from gensim.models import Word2Vec

    corpus = sentences(path)
    model = Word2Vec(
        vector_size=100, window=5, negative=5, sample=1e-3, sg=1, min_count=5, workers=1, seed=seed
    )
    model.build_vocab(corpus)

    def run() -> Any:
        model.train(corpus, total_examples=len(corpus), epochs=epochs)
        return model

    return run


def our_glove(path: str, steps: int) -> Callable[[], GloVe]:
    """``steps`` of 20,000 pairs from random vectors; the pairs are counted before."""
    settings = GloVe.Settings(steps=steps)
    method = GloVe.build(settings, prepared(path))
    method.held_out = method.held_out._replace(counts=method.held_out.counts[:0])

    def run() -> GloVe:
        train(method, settings, progress=False)
        return method

    return run


CONTENDERS = {
    OURS: Contender(our_skipgram, ["minissl.pretrain.words.skipgram"], keeps_memory=True),
    THEIRS: Contender(gensim_skipgram, ["gensim.models"]),
    GLOVE: Contender(our_glove, ["minissl.pretrain.words.glove"], keeps_memory=True),
}


# ---- quality -------------------------------------------------------------------------------------


class Tests(NamedTuple):
    """What the vectors are asked."""

    pairs: WordPairs
    questions: AnalogyQuestions

    def ask(self, method: SkipGram) -> tuple[float, float, float]:
        """Rank correlation, share of right answers, held-out loss."""
        vectors = method.vectors()
        answered = summary(self.questions.measure(vectors))[-1]
        correlation = self.pairs.measure(vectors).spearman
        return correlation or 0.0, answered.accuracy or 0.0, method.evaluate()["held_out_loss"]

    def coverage(self, method: SkipGram) -> str:
        """How many pairs and questions have vectors for all their words."""
        pairs = self.pairs.measure(method.vectors())
        questions = summary(self.questions.measure(method.vectors()))[-1]
        return (
            f"known: {pairs.known:,} of {pairs.total:,} pairs, {questions.known:,} of "
            f"{questions.total:,} questions"
        )


def quality(path: str, epochs: int, seeds: int, tests: Tests) -> dict[str, dict[str, str]]:
    """Of both sides the mean and the standard deviation over the seeds."""
    found: dict[str, dict[str, str]] = {}
    for name, build in ((OURS, partial(our_skipgram, measured=True)), (THEIRS, gensim_skipgram)):
        answers = []
        for seed in range(1, seeds + 1):
            print(f"\r{name}: seed {seed} of {seeds} ", end="", file=sys.stderr, flush=True)
            answers.append(tests.ask(in_our_tables(build(path, epochs, seed)(), path)))
        print(file=sys.stderr)
        table = np.array(answers)
        spread = table.std(axis=0, ddof=1) if seeds > 1 else np.zeros(3)
        texts = [f"{mean:.3f} ± {sd:.3f}" for mean, sd in zip(table.mean(axis=0), spread)]
        found[name] = dict(zip(QUALITIES, texts))
    return found


def in_our_tables(model: Any, path: str) -> SkipGram:
    """The method itself, or gensim's two tables in one of ours."""
    if isinstance(model, SkipGram):
        return model
    method = SkipGram.build(SkipGram.Settings(), prepared(path))
    rows = [method.data.vocabulary.ids[word] for word in model.wv.index_to_key]
    method.model.centers.weight.array[rows] = model.wv.vectors
    method.model.contexts.weight.array[rows] = model.syn1neg
    return method


# ---- the table -----------------------------------------------------------------------------------


def main() -> None:
    parser = add_options(new_parser("word_vectors", __doc__), repeats=5)
    parser.set_defaults(threads=1)
    parser.add_argument("--text", default="", help="file or folder (default: python-english)")
    parser.add_argument("--epochs", type=positive, default=5, help="passes, for the quality (5)")
    parser.add_argument("--seeds", type=positive, default=3, help="of the quality (default 3)")
    parser.add_argument("--pairs", type=Path, help="words with human scores (default: a toy set)")
    parser.add_argument("--questions", type=Path, help="analogies (default: a toy set)")
    arguments = parser.parse_args()
    require_peers("gensim")
    machine = environment(["gensim", "scipy"])
    pairs, questions = arguments.pairs, arguments.questions
    tests = Tests(
        WordPairs.read(pairs) if pairs else WordPairs.toy(),
        AnalogyQuestions.read(questions) if questions else AnalogyQuestions.toy(),
    )
    path, module, threads = arguments.text, "benchmarks.word_vectors", arguments.threads
    settings = {"path": path}
    found = race(module, [OURS, THEIRS], arguments.repeats, threads=threads, settings=settings)
    settings = {"path": path, "steps": GLOVE_STEPS}
    found |= race(module, [GLOVE], arguments.repeats, threads=threads, settings=settings)
    work = {OURS: num_words(path), THEIRS: num_words(path)}
    work[GLOVE] = GLOVE_STEPS * GloVe.Settings().batch_size
    with engine_threads(threads):
        known = quality(path, arguments.epochs, arguments.seeds, tests)
    rows = [
        {
            "vectors": name,
            "read": f"{work[name]:,} {'pairs' if name == GLOVE else 'words'}",
            "million per second": work[name] / result.seconds / 1e6,
            "× gensim": "" if name == GLOVE else found[THEIRS].seconds / result.seconds,
            **known.get(name, dict.fromkeys(QUALITIES, "")),
        }
        for name, result in found.items()
    ]
    notes = [
        f"speed: one pass, {threads} thread(s), medians of {arguments.repeats} turns; nothing is "
        "measured on the way",
        f"quality: {arguments.epochs} passes, mean ± standard deviation of {arguments.seeds} seeds",
        tests.coverage(our_skipgram(path)()),
        "held-out loss: nats for each pair and its five words of noise",
    ]
    report("word_vectors", rows, machine, notes)


if __name__ == "__main__":
    stoppable(main)

"""Lecture 08: a masked model that must write from left to right, and a judge of what it wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import bars, panels
from minissl.claims.gpt_on_english import OWN, QUICK, encoded, english
from minissl.data import Kept
from minissl.data.passages import SPECIAL, Passages, to_stream
from minissl.models.generate import pick
from minissl.nn.evaluating import evaluating
from minissl.palette import BLUE, GREY, OCHRE, RED
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.language.lstm import LSTMPretraining, LSTMSettings
from minissl.pretrain.masked.spanbert import SpanBERT, SpanBERTSettings
from minissl.pretrain.run import train
from minissl.text import Tokenizer
from minissl.text.documents import Document

TEXT, CAUSAL, ONE_GAP, ALL_GAPS, SHUFFLED, UNIGRAM = (
    "the text itself", "GPT", "masked model, one gap at the end",
    "masked model, gaps to the end", "the text, its words shuffled", "words by their frequency",
)  # fmt: skip
ROWS = (TEXT, CAUSAL, ALL_GAPS, ONE_GAP, SHUFFLED, UNIGRAM)
COLORS = (GREY, BLUE, RED, RED, OCHRE, OCHRE)
COST, REPEATED, LENGTH = "judge's nats per character", "repeated (%)", "characters"
LOSS = "its own loss (nats per token)"
LONGEST = 30  # characters of a beginning, at most as many tokens: the context has room
RUN = 3  # tokens of which a repetition is made
OTHER = 1000  # added to the seed of the judge


class Beginning(NamedTuple):
    """The first words of a held-out document, and those that follow."""

    prompt: str
    text: str


def measure(setup: Setup) -> Measured:
    """A GPT and a masked model read one half of the text; an LSTM that read the other judges."""
    documents, held_out = english(setup)
    middle, length = len(documents) // 2, setup.settings["characters"]
    begun = beginnings(held_out, setup.settings)
    prompts = [one.prompt for one in begun]
    written = {TEXT: [one.text for one in begun]}
    generator = np.random.default_rng(setup.seed)
    words = [word for document in documents[:middle] for word in document.text.split()]
    written[SHUFFLED] = [joined(generator.permutation(t.split())) for t in written[TEXT]]
    written[UNIGRAM] = [joined(generator.choice(words, length)) for _ in prompts]
    setup.note(CAUSAL)
    causal = gpt(setup, documents[:middle], held_out)
    written[CAUSAL] = sampled(causal, prompts, setup)
    setup.note("masked model")
    masked = masked_model(setup, documents[:middle], held_out)
    written[ONE_GAP] = sampled(masked, prompts, setup)
    written[ALL_GAPS] = filled(masked, prompts, setup.settings["written"], generator)
    setup.note("judge")
    judge = lstm(setup, documents[middle:])
    cut = {row: [text[:length] for text in texts] for row, texts in written.items()}
    table = {row: judged(judge, prompts, cut[row]) for row in ROWS}
    for row, method in ((CAUSAL, causal), (ONE_GAP, masked)):
        table[row][LOSS] = method.evaluate()["held_out_loss"]
    return Measured(table)


# ---- what is written -----------------------------------------------------------------------------


def beginnings(documents: Sequence[Document], settings: Mapping[str, Any]) -> list[Beginning]:
    """Of documents that are long enough: a few words, and as much more as is to be judged."""
    first = re.compile(rf"\s*(?:\S+\s+){{{settings['begin'] - 1}}}\S+")
    length, found = settings["characters"], []
    for document in documents:
        match = first.match(document.text)
        if match and match.end() <= LONGEST and len(document.text) >= match.end() + length:
            rest = document.text[match.end() : match.end() + length]
            found.append(Beginning(match[0], rest))
    return found[: settings["samples"]]


def joined(words: Iterable[str]) -> str:
    """Each with a space before it."""
    return "".join(f" {word}" for word in words)


def sampled(method: Any, prompts: Sequence[str], setup: Setup) -> list[str]:
    """What the method's own ``sample`` writes behind each prompt."""
    found = []
    for number, prompt in enumerate(prompts):
        pieces: list[bytes] = []
        method.sample(
            prompt.encode(), setup.settings["written"], write=pieces.append,
            generator=np.random.default_rng([setup.seed, number]),
        )  # fmt: skip
        found.append(b"".join(pieces).decode("utf-8", "replace"))
    return found


def filled(
    method: SpanBERT, prompts: Sequence[str], count: int, generator: np.random.Generator
) -> list[str]:
    """Behind each prompt ``count`` gaps at once, filled one after the other from the left."""
    before = [list(method.tokenizer.encode(prompt)) for prompt in prompts]
    rows = [[method.cls, *ids, *[method.mask] * count, method.sep] for ids in before]
    special = list(method.tokenizer.special_tokens.values())
    with evaluating(method.model):
        for step in range(count):
            places = [1 + len(ids) + step for ids in before]
            logits = np.array(method._logits_at(rows, places).numpy())
            logits[:, special] = -np.inf
            for row, place, own in zip(rows, places, logits):
                row[place] = pick(own, 1.0, None, None, generator)
    decode = method.tokenizer.decode_bytes
    return [
        decode(row[1 + len(ids) : -1]).decode("utf-8", "replace") for row, ids in zip(rows, before)
    ]


# ---- who writes, and who judges ------------------------------------------------------------------


def gpt(setup: Setup, documents: Sequence[Document], held_out: Sequence[Document]) -> Any:
    """A GPT that has read the documents."""
    settings = chosen(GPTSettings, setup)
    return taught(
        setup, GPTPretraining, settings, encoded(documents, held_out, settings.vocab_size)
    )


def masked_model(
    setup: Setup, documents: Sequence[Document], held_out: Sequence[Document]
) -> SpanBERT:
    """An encoder of the same size that has read as much of them, with 15 % of it hidden."""
    settings = chosen(SpanBERTSettings, setup, pieces="bpe", masking="pieces", boundary_weight=0.0)
    texts = [document.text for document in documents]
    tokenizer = Tokenizer.train(texts, settings.vocab_size, special_tokens=SPECIAL)
    read, unseen = (to_stream(part, tokenizer) for part in (documents, held_out))
    data = Passages(Kept(), tokenizer, read, unseen)
    return taught(setup, SpanBERT, settings, data)


def lstm(setup: Setup, documents: Sequence[Document]) -> Any:
    """A larger network of another kind, of another seed, that has read other documents."""
    settings = chosen(
        LSTMSettings, setup, width=setup.settings["judge_width"],
        steps=setup.settings["judge_steps"], learning_rate=LSTMSettings().learning_rate,
    )  # fmt: skip
    data = encoded(documents, [], settings.vocab_size)
    return taught(setup, LSTMPretraining, settings, data, seed=setup.seed + OTHER)


def taught(setup: Setup, kind: Any, settings: Any, data: Any, seed: int | None = None) -> Any:
    """The method, trained; with the setup's seed, or another."""
    seed = setup.seed if seed is None else seed
    method = kind.build(settings, data, seed=seed)
    method.to(setup.device)
    train(method, settings, seed=seed, progress=False)
    method.to("cpu")
    return method


def judged(judge: Any, prompts: Sequence[str], texts: Sequence[str]) -> dict[str, float]:
    """What the judge pays for the texts behind the prompts, and how they repeat themselves.

    Repeated: runs of three of the judge's tokens that occurred earlier in the same text.
    """
    nats = -judge.score(prompts, texts).sum()
    runs = again = 0
    for text in texts:
        own = runs_of(judge.tokenizer.encode(text))
        runs, again = runs + len(own), again + len(own) - len({*own})
    characters = sum(map(len, texts))
    return {
        COST: float(nats / characters),
        REPEATED: 100 * again / max(runs, 1),
        LENGTH: characters / len(texts),
    }


def runs_of(tokens: Sequence[int]) -> list[tuple[int, ...]]:
    """All that are ``RUN`` long, in their order."""
    return [tuple(tokens[i : i + RUN]) for i in range(len(tokens) - RUN + 1)]


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """What the judge pays, and what is repeated."""
    drawn, axes = panels(2.4, 2.4)
    for axis, column, form in zip(axes, (COST, REPEATED), ("%.2f", "%.1f")):
        bars(axis, measured, ROWS, column, colors=COLORS, form=form)
        axis.set(xlabel=column)
    return drawn


SIZE = {
    "begin": 4,
    "characters": 80,
    "written": 32,
    "samples": 200,
    "judge_width": 256,
    "judge_steps": 400,
    "vocab_size": 1024,
    "num_layers": 2,
    "width": 128,
    "num_heads": 4,
    "context_length": 64,
    "batch_size": 16,
    "steps": 600,
    "evaluations": 1,
}

EXPECTED = (
    *(
        ahead(row, CAUSAL, COST, 0.5, "at the end of a text it was never asked")
        for row in (ONE_GAP, ALL_GAPS)
    ),
    *(
        ahead(ONE_GAP, row, COST, 0.5, "pieces that make no words cost more than any words")
        for row in (SHUFFLED, UNIGRAM)
    ),
    ahead(CAUSAL, TEXT, COST, 0.05, "a small GPT is no writer either"),
    ahead(SHUFFLED, TEXT, COST, 0.1, "the judge knows something of the order of words"),
    Expectation(5.0, Cell(ONE_GAP, REPEATED), 0.0, "it does not go in circles: it rambles"),
)

CLAIM = Claim(
    name="masked-sampling",
    title="A masked model is no writer",
    statement=(
        "What a masked model writes from left to right, filling one gap behind the text again and "
        "again, costs another language model far more than what a GPT of the same size writes "
        "that has read the same text."
    ),
    lecture="08, section 9",
    measure=measure,
    expectations=EXPECTED,
    figure=figure,
    scales={
        "quick": {
            **SIZE,
            **QUICK,
            "batch_size": 4,
            "context_length": 64,
            "steps": 5,
            "judge_steps": 3,
            "judge_width": 16,
            "samples": 3,
        },
        "small": SIZE,
        "full": {
            **SIZE,
            "vocab_size": 4096,
            "judge_width": 512,
            "judge_steps": 3000,
            "num_layers": 6,
            "width": 384,
            "num_heads": 6,
            "batch_size": 64,
            "steps": 4000,
            "learning_rate": 1e-3,
        },
    },
    settings=[GPTSettings, SpanBERTSettings, LSTMSettings],
    own=(*OWN, "begin", "characters", "written", "samples", "judge_width", "judge_steps"),
    formats={REPEATED: ".1f", LENGTH: ".0f"},
    rows="who wrote",
    about=(
        "Half of the English inside Python is read by a GPT and by an encoder of the same width "
        "and depth, in as many steps of as many rows and places; of the encoder's 15 % are hidden "
        "one by one (the method spanbert without its second objective). Both continue the first "
        "four words of 200 held-out texts with 32 tokens, drawn as they come (temperature 1), of "
        "which 80 characters are judged; a GPT may end earlier. The encoder does it in two ways: "
        "with one gap between the text and its end, as minissl sample does, and with a gap for "
        "each token that is still to come. The judge is an LSTM with twice the width that has read "
        "the other half, with another seed: a network of neither kind. Repeated are runs of three "
        "of the judge's tokens that occurred earlier in the same text. Its own loss is that on "
        "held-out text, of the encoder on hidden tokens with both sides in sight. Seen in a pilot "
        "with seed 100: 1.96 for the GPT, 3.06 and 3.11 for the encoder."
    ),
)

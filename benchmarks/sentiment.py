"""What a small encoder of ours is worth on SST-2, beside tf-idf and averaged word vectors.

    python -m benchmarks.sentiment --train sst2_train.tsv --test sst2_test.tsv --text english.txt

Sentences of films that are liked or not, in columns label and sentence. Each seed: an encoder
(``--method``) and skip-gram vectors of the same width, pretrained on the text and the training
sentences without their labels; the encoder is fine-tuned, from its weights and from random ones;
logistic regression reads averaged vectors and tf-idf. Accuracy on the test sentences.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import add_options, new_parser, positive, report, require_peers, stoppable
from minissl.adapt.heads.finetune import Finetune, FinetuneSettings
from minissl.adapt.method import Task
from minissl.autograd.threads import engine_threads
from minissl.conditions import environment
from minissl.data import Fields, Kept
from minissl.data.labels import Labelled
from minissl.data.passages import PassageTexts
from minissl.data.texts import LabelledTexts, Texts
from minissl.data.words import WordTexts
from minissl.pretrain import load_method
from minissl.pretrain.run import Opened, fit_as_told, train
from minissl.pretrain.words.skipgram import SkipGram
from minissl.text.documents import Document
from minissl.training import Checkpoint

FIELDS = Fields(text_field="sentence", label_field="label")
FREQUENT, TFIDF, VECTORS = "the more frequent class", "tf-idf of words", "averaged skip-gram"
SCRATCH, TUNED = "encoder from scratch", "encoder, pretrained"


@cache
def read(train: str, test: str, text: str) -> tuple[LabelledTexts, LabelledTexts, list[Document]]:
    """The labelled sentences of both files, and all that is pretrained on."""
    first, second = (LabelledTexts.read(Path(path), None, FIELDS) for path in (train, test))
    return first, second, [*Texts.read(Path(text), None).documents, *first.documents]


@cache
def prepared(kind: Any, texts: tuple[Document, ...], settings: Any) -> Any:
    """Texts made ready once for all seeds."""
    return kind(texts).prepare(Kept(), settings)


def accuracies(arguments: Any, seed: int) -> dict[str, float]:
    """Of one seed: accuracy in percent by contender."""
    first, second, texts = read(arguments.train, arguments.test, arguments.text)
    raw = LabelledTexts(
        [*first.documents, *second.documents],
        np.concatenate([first.labels, second.labels]),
        first.class_names,
        held_out=np.arange(len(first.documents), len(first.documents) + len(second.documents)),
    )
    found = {FREQUENT: 100 * max(float(np.mean(second.labels == c)) for c in (0, 1))}
    found[TFIDF] = _tf_idf(first, second)
    found[VECTORS] = _vectors(texts, first, second, seed)
    kind = load_method(arguments.method)
    settings = replace(kind.Settings(), steps=arguments.steps, evaluations=1)
    data = prepared(PassageTexts, tuple(texts), settings)
    method = kind.build(settings, data, seed=seed)
    tuned = {SCRATCH: _tuned(arguments, _opened(method, settings, data), raw, seed)}
    train(method, settings, seed=seed, progress=False)
    tuned[TUNED] = _tuned(arguments, _opened(method, settings, data), raw, seed)
    return found | tuned


def _opened(method: Any, settings: Any, data: Any) -> Opened:
    """A method in memory as a run that was opened."""
    weights = {name: array.copy() for name, array in method.model.state_dict().items()}
    nowhere = Path("in memory")
    return Opened(nowhere, "", method, settings, data, Checkpoint(nowhere, weights, {}, {}))


def _tuned(arguments: Any, opened: Opened, raw: LabelledTexts, seed: int) -> float:
    """All weights learn from all labels, some passes through them."""
    task = Task.prepare(opened.data, raw, Finetune.labels)
    steps = round(arguments.passes * task.size / 32)
    settings = FinetuneSettings(steps=steps, evaluations=1)
    adapted = Finetune.build(settings, opened, task, seed=seed)
    fit_as_told(adapted, settings, seed=seed, progress=False)
    return 100 * adapted.evaluate()["held_out_accuracy"]


def _tf_idf(first: LabelledTexts, second: LabelledTexts) -> float:
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\S+")
    features = words.fit_transform([d.text for d in first.documents])
    return _logistic(
        features, first.labels, words.transform([d.text for d in second.documents]), second.labels
    )


def _vectors(texts: Any, first: LabelledTexts, second: LabelledTexts, seed: int) -> float:
    settings = SkipGram.Settings(evaluations=1)
    data = prepared(WordTexts, tuple(texts), settings)
    method = SkipGram.build(settings, data, seed=seed)
    train(method, settings, seed=seed, progress=False)
    parts: list[Labelled] = [data.labelled(raw) for raw in (first, second)]
    x = [method.represent(part.inputs) for part in parts]
    return _logistic(x[0], first.labels, x[1], second.labels)


def _logistic(features: Any, labels: Any, test: Any, truth: Any) -> float:
    """The best of three strengths of regularisation, chosen on a fifth of the training part."""
    from sklearn.linear_model import LogisticRegression

    few = np.arange(len(labels)) % 5 == 0

    def score(strength: float, x: Any, y: Any, at: Any, right: Any) -> tuple[float, float]:
        model = LogisticRegression(C=strength, max_iter=2000).fit(x, y)
        return float(np.mean(model.predict(at) == right)), strength

    tried = [
        score(c, features[~few], labels[~few], features[few], labels[few]) for c in (0.3, 3.0, 30.0)
    ]
    return 100 * score(max(tried)[1], features, labels, test, truth)[0]


def main() -> None:
    parser = add_options(new_parser("sentiment", __doc__), repeats=1)
    parser.add_argument("--train", required=True, help="a table with columns label and sentence")
    parser.add_argument("--test", required=True, help="another, which is only measured on")
    parser.add_argument("--text", required=True, help="what is pretrained on")
    parser.add_argument("--method", default="spanbert", choices=("bert", "roberta", "spanbert"))
    parser.add_argument("--steps", type=positive, default=1500, help="of the pretraining")
    parser.add_argument("--passes", type=positive, default=5, help="through the labelled sentences")
    parser.add_argument("--seeds", type=positive, default=3, help="(default: %(default)s)")
    arguments = parser.parse_args()
    require_peers("sklearn")
    for path in (arguments.train, arguments.test, arguments.text):
        if not Path(path).exists():
            parser.error(f"{path}: there is no such file")
    machine, begun, found = environment(["scikit-learn"]), time.monotonic(), []
    for seed in range(arguments.seeds):
        with engine_threads(arguments.threads):
            found.append(accuracies(arguments, seed))
        print(f"seed {seed}: {found[-1]}", file=sys.stderr, flush=True)
    rows = [
        {
            "what": name,
            "accuracy %": float(np.mean([one[name] for one in found])),
            "lowest": min(one[name] for one in found),
            "highest": max(one[name] for one in found),
        }
        for name in found[0]
    ]
    notes = [
        f"{arguments.seeds} seeds of pretraining, fine-tuning and vectors; tf-idf has none",
        f"{arguments.method}: 2 layers of width 128, {arguments.steps} steps of 32 rows of 64 "
        f"tokens; fine-tuning: {arguments.passes} passes, batches of 32, mean of the last states",
        "logistic regression: the strength of three that was best on a fifth of the training part",
        f"{time.monotonic() - begun:.0f} s in all",
    ]
    report("sentiment", rows, machine, notes)


if __name__ == "__main__":
    stoppable(main)

"""Small parts beside a frozen strong encoder, and all its weights, on some hundred sentences.

    python -m benchmarks.small_parts --base all-MiniLM-L6-v2 --train sst2_train.tsv \
        --test sst2_test.tsv

``--base``: a folder with published weights of BERT's kin (config.json, model.safetensors and
vocab.txt), or a run of ours. Sentences with labels, in columns label and sentence. Each seed draws
sentences to learn from, the same for all ways, and each way learns from them: the parts are those
of the claim small-parts. Accuracy on test sentences, what is trained, what is saved, what a step
costs.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import add_options, new_parser, positive, report, require_peers, stoppable
from minissl.adapt.heads.probe import Probe, ProbeSettings
from minissl.adapt.method import Task
from minissl.autograd.threads import engine_threads
from minissl.claims.claim import Setup
from minissl.claims.experiments.adaptation import small_parts as parts
from minissl.conditions import environment
from minissl.data import Fields
from minissl.data.texts import LabelledTexts
from minissl.pretrain.run import Opened, open_run

FIELDS = Fields(text_field="sentence", label_field="label")
TFIDF = "tf-idf of words, logistic regression"
# Of three learning rates around the library's own the best, see the notes.
RATES = {
    parts.TUNED: 1e-4, parts.LAST: 3e-3, parts.ABOVE: 3e-3, parts.LORA: 3e-3, parts.EXPERTS: 3e-3,
    parts.ADAPTERS: 3e-3, parts.BIASES: 3e-3, parts.PREFIXES: 0.1, parts.MADE: 3e-3,
    parts.PROMPTS: 1e-2,
}  # fmt: skip
COLUMNS = {"weights": "weights trained", "saved": "kB saved", "step": "CPU ms per step"}


def measured(arguments: Any, opened: Opened, raw: LabelledTexts, seed: int) -> dict[str, Any]:
    """Of one seed: by way its accuracy in percent and its costs."""
    task = parts.shortened(
        Task.prepare(opened.data, raw, Probe.labels), arguments.tokens, closed=True
    )
    found: dict[str, Any] = {TFIDF: {"accuracy": tf_idf(raw)}}
    probe = Probe.build(ProbeSettings(), opened, task, seed=seed)
    probe.solve()
    saved = sum(array.nbytes for array in probe.saved().state_dict().values())
    found[parts.PROBE] = {
        "accuracy": 100 * probe.evaluate()["held_out_accuracy"], "saved": saved / 1000,
        "weights": (opened.method.width + 1) * task.outputs,
    }  # fmt: skip
    for row, rate in RATES.items():
        setup = Setup(seed, {"tune_steps": arguments.steps})
        accuracy, method, step = parts.fitted(setup, parts.WAYS[row], opened, task, rate)
        costs = parts.costs(method)
        found[row] = {
            "accuracy": accuracy, "weights": costs[parts.WEIGHTS], "saved": costs[parts.BYTES],
            "step": step,
        }  # fmt: skip
        print(f"seed {seed}, {row}: {accuracy:.1f} %", file=sys.stderr, flush=True)
    return found


def drawn(first: LabelledTexts, second: LabelledTexts, arguments: Any, seed: int) -> LabelledTexts:
    """Some sentences of the first file to learn from, and some of the second, held out.

    The seed draws the former; the latter are always the same.
    """
    train, test = arguments.sentences, arguments.questions
    learned = np.random.default_rng(seed).permutation(len(first.documents))[:train]
    asked = np.random.default_rng(0).permutation(len(second.documents))[:test]
    return LabelledTexts(
        [*(first.documents[i] for i in learned), *(second.documents[i] for i in asked)],
        np.concatenate([first.labels[learned], second.labels[asked]]),
        first.class_names,
        held_out=np.arange(len(learned), len(learned) + len(asked)),
    )


def tf_idf(raw: LabelledTexts) -> float:
    """Accuracy in percent of logistic regression on words and pairs of them."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    assert raw.held_out is not None
    begin = int(raw.held_out[0])
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\S+")
    texts = [document.text for document in raw.documents]
    model = LogisticRegression(C=30.0, max_iter=2000)
    model.fit(words.fit_transform(texts[:begin]), raw.labels[:begin])
    predicted = model.predict(words.transform(texts[begin:]))
    return 100 * float(np.mean(predicted == raw.labels[begin:]))


def row_of(name: str, seeds: list[dict[str, Any]]) -> dict[str, object]:
    """A line of the table: accuracy over the seeds, and costs where it has any."""
    accuracies = [one[name]["accuracy"] for one in seeds]
    row: dict[str, object] = {
        "what": name,
        "accuracy %": round(float(np.mean(accuracies)), 1),
        "lowest": round(min(accuracies), 1),
        "highest": round(max(accuracies), 1),
    }
    for key, column in COLUMNS.items():
        of_seeds = [one[name][key] for one in seeds if key in one[name]]
        row[column] = round(float(np.mean(of_seeds))) if of_seeds else ""
    return row


def main() -> None:
    parser = add_options(new_parser("small_parts", __doc__), repeats=1)
    parser.add_argument("--base", required=True, help="a folder of published weights, or a run")
    parser.add_argument("--train", required=True, help="a table with columns label and sentence")
    parser.add_argument("--test", required=True, help="another, which is only measured on")
    parser.add_argument("--sentences", type=positive, default=400, help="that are learned from")
    parser.add_argument("--questions", type=positive, default=500, help="of the test sentences")
    parser.add_argument("--tokens", type=positive, default=32, help="of a sentence that are read")
    parser.add_argument("--steps", type=positive, default=80, help="of batches of 16")
    parser.add_argument("--seeds", type=positive, default=3, help="(default: %(default)s)")
    arguments = parser.parse_args()
    require_peers("sklearn")
    for path in (arguments.base, arguments.train, arguments.test):
        if not Path(path).exists():
            parser.error(f"{path}: there is no such file or folder")
    first, second = (
        LabelledTexts.read(Path(path), None, FIELDS) for path in (arguments.train, arguments.test)
    )
    machine, begun = environment(["scikit-learn"]), time.monotonic()
    opened = open_run(arguments.base)
    with engine_threads(arguments.threads):
        found = [
            measured(arguments, opened, drawn(first, second, arguments, seed), seed)
            for seed in range(arguments.seeds)
        ]
    weights = sum(array.size for array in opened.method.encoder.state_dict().values())
    notes = [
        f"{Path(arguments.base).name}: {weights:,} weights, mean of the last states; "
        f"{arguments.seeds} seeds, {arguments.sentences} sentences to learn from, drawn by the "
        f"seed, {arguments.questions} test sentences, {arguments.tokens} tokens of each",
        f"{arguments.steps} steps of 16 sentences at the learning rates "
        + ", ".join(f"{row} {rate:g}" for row, rate in RATES.items()),
        "chosen from three by 40 steps with seed 100 on MiniLM: 400 sentences to learn from, 250 "
        "of a third file (SST-2's dev) to judge by; two standard errors are 5 points",
        "kB saved: what is kept beside the base, the layer on top included",
        "CPU ms: of all threads together, the batches included",
        f"{time.monotonic() - begun:.0f} s in all",
    ]
    report("small_parts", [row_of(name, found) for name in found[0]], machine, notes)


if __name__ == "__main__":
    stoppable(main)

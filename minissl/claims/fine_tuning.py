"""What the claims about adapting share: two small GPTs, fine-tuning in memory, a bag of words.

A scale says of each GPT its settings, "english" and "world", so that claims share what they have
pretrained (``cache``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.heads.finetune import Finetune, FinetuneSettings
from minissl.adapt.heads.probe import Probe, ProbeSettings
from minissl.adapt.method import Adaptation, FewLabels, Task
from minissl.claims.cache import shared
from minissl.claims.claim import Setup
from minissl.claims.docstring_labels import in_memory
from minissl.data.labels import Labelled
from minissl.data.texts import LabelledTexts, Texts
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.run import Opened, fit_as_told
from minissl.text.documents import Document
from minissl.training import History

INVERSE_L2 = 100.0  # of the bag of words, as in the claim docstring-packages

# The two GPTs: 320,000 weights that read 1.9 million tokens, and 140,000 that read 3.1 million.
QUICK_GPT: dict[str, Any] = {
    "vocab_size": 300, "steps": 2, "batch_size": 4, "num_layers": 1, "width": 8, "num_heads": 1,
    "context_length": 24, "evaluations": 1,
}  # fmt: skip
ENGLISH: dict[str, Any] = {
    "vocab_size": 1000, "steps": 2000, "batch_size": 30, "num_layers": 2, "width": 96,
    "num_heads": 4, "context_length": 32, "evaluations": 1,
}  # fmt: skip
WORLD: dict[str, Any] = {
    **ENGLISH, "vocab_size": 512, "steps": 3000, "batch_size": 16, "width": 64,
    "context_length": 64,
}  # fmt: skip
FULL_GPT: dict[str, Any] = {
    "vocab_size": 4096, "steps": 10_000, "batch_size": 48, "num_layers": 4, "width": 256,
    "num_heads": 4, "context_length": 128, "evaluations": 1,
}  # fmt: skip


def gpt(setup: Setup, name: str, texts: Sequence[Document], row: str) -> Opened:
    """A GPT with the settings ``name`` of the scale that has read the texts, as an opened run.

    ``row``: where it stands in the claim's table.
    """
    settings = GPTSettings(**setup.settings[name])
    found = shared(setup, GPTPretraining, Texts(texts), settings, row=row)
    return in_memory(found.method, settings, found.data)


def tuned(
    setup: Setup, opened: Opened, task: Task, *, batches: int = 0, **settings: Any
) -> tuple[Finetune, History]:
    """All weights trained on the labels; the seed of the setup decides what is drawn.

    ``settings``: of ``FinetuneSettings``. ``batches``: another number draws other batches for the
    same first weights. The weights of the opened run stay as they are.
    """
    told = FinetuneSettings(**{"evaluations": 1, **settings})
    method = Finetune.build(told, opened, task, seed=setup.seed)
    method.to(setup.device)
    history = fit_as_told(method, told, seed=setup.seed + 1000 * batches, progress=False)
    return method, history


def probed(setup: Setup, opened: Opened, task: Task, labels_per_class: int = 0) -> Probe:
    """A linear layer on the network as it was pretrained."""
    probe = Probe.build(
        ProbeSettings(labels_per_class=labels_per_class), opened, task, seed=setup.seed
    )
    probe.solve()
    return probe


def accuracy(method: Adaptation, part: Labelled | None) -> float:
    """In percent, each class as much as every other: see ``mean_of_classes``."""
    assert part is not None  # the task of a claim holds something out
    return mean_of_classes(method.predict(part.inputs), part.labels)


def mean_of_classes(predicted: NDArray, labels: NDArray) -> float:
    """What is right of each class in percent, the mean over the classes that occur."""
    right = np.asarray(predicted) == labels
    return 100 * float(np.mean([right[labels == one].mean() for one in np.unique(labels)]))


class BagOfWords:
    """scikit-learn's logistic regression on the tf-idf of words, of these texts and their labels.

    ``more``: texts without labels that say, with the others, which words there are and how rare.
    """

    def __init__(self, texts: Sequence[str], labels: NDArray, more: Sequence[str] = ()):
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        self.words = TfidfVectorizer(sublinear_tf=True).fit([*texts, *more])
        self.model = LogisticRegression(C=INVERSE_L2, max_iter=1000)
        self.model.fit(self.words.transform(texts), labels)

    def accuracy(self, texts: Sequence[str], labels: NDArray) -> float:
        """In percent, the mean over the classes."""
        return mean_of_classes(self.model.predict(self.words.transform(texts)), labels)


def bag_of_words(setup: Setup, task: Task, raw: LabelledTexts, count: int) -> float:
    """The accuracy of tf-idf, in percent, from the labels that the networks get.

    ``count``: labels of each class, 0 for all. Words and their frequencies are those of all texts
    to learn from, labelled or not.
    """
    assert task.held_out is not None
    texts = {text.name: text.text for text in raw.documents}
    train = task.to_learn_from()
    labelled = train.take(FewLabels(labels_per_class=count).choose(train.labels, setup.seed))
    bag = BagOfWords(
        [texts[name] for name in labelled.names], labelled.labels,
        more=[texts[name] for name in train.names],
    )  # fmt: skip
    return bag.accuracy([texts[name] for name in task.held_out.names], task.held_out.labels)


def without_some(task: Task, share: float = 1 / 3) -> Task:
    """The task in which a share of the examples to learn from is held out: to choose settings on.

    The same ones for every seed. What the task itself holds out is in neither part.
    """
    train = task.to_learn_from()
    order = np.random.default_rng(1).permutation(len(train))
    cut = round(share * len(train))
    return replace(
        task, train=train.take(np.sort(order[cut:])), held_out=train.take(np.sort(order[:cut]))
    )

"""Tasks on sentences, each with its files as they were published, its metrics, and what it asks.

A name here is a *layout* (``Fields.layout``, ``--layout``): which columns of a file are the texts
and the label, whether its first line names them, and which labels there are. So the files that a
task was published in are read as they lie: ``minissl.data.tables`` does that, and knows no task.

GLUE: Wang et al. 2018, arXiv:1804.07461; where a task comes from stands with it. Lecture 11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MATTHEWS, F1, PEARSON, SPEARMAN, ACCURACY = "matthews", "f1", "pearson", "spearman", "accuracy"
IN_WORDS = {
    ACCURACY: "accuracy",
    MATTHEWS: "Matthews correlation",
    F1: "F1",
    PEARSON: "Pearson correlation",
    SPEARMAN: "Spearman correlation",
}


class Columns(NamedTuple):
    """The names that a published file gives to its columns; ``second`` is "" for a single text."""

    text: str
    second: str
    label: str

    def fit(self, names: Sequence[str]) -> bool:
        """Whether a file with these columns has the texts: a test file has no label."""
        return self.text in names and (not self.second or self.second in names)


@dataclass(frozen=True)
class PublishedTask:
    """A task by the name of its layout.

    question, example: what is asked, in one sentence, and a made-up case with its answer.
    examples: how many with a label the published training file has. metrics: those that the task
    is judged by, the first one first (``IN_WORDS``).

    columns: what a first line may name them; of several that fit, the first. bare: names for a file
    whose first line is an example already; ``longer``: its rows may go on after those. classes: the
    names of the classes, by how a file may write them; none where the label is a number from 0 to
    ``most``. no_label: what stands where the annotators did not agree, or nobody was asked.
    ``broken``: the published file has rows that a line break parted in two, and empty texts.
    """

    name: str
    title: str
    question: str
    example: str
    examples: int
    metrics: tuple[str, ...]
    columns: tuple[Columns, ...]
    paper: str
    classes: Mapping[str, str] = field(default_factory=dict)
    most: float = 0.0
    bare: tuple[str, ...] = ()
    longer: bool = False
    no_label: tuple[str, ...] = ()
    broken: bool = False

    @property
    def pairs(self) -> bool:
        """Whether an example is two texts."""
        return bool(self.columns[0].second)

    @property
    def kind(self) -> str:
        """Of the labels: ``"class"`` or ``"number"``."""
        return "class" if self.classes else "number"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their numbers: sorted, as those of any table."""
        return tuple(sorted({*self.classes.values()}))

    def columns_of(self, names: Sequence[str]) -> Columns | None:
        """Which of its columns are which, by a first line; None where that names none of them."""
        return next((columns for columns in self.columns if columns.fit(names)), None)

    def label(self, written: str) -> str:
        """A label of a file as the name of its class, or as a number in digits.

        A class may be written by its name, too. Raises ValueError, a sentence without its subject,
        for a label that the task has not.
        """
        if self.classes:
            if written in self.classes or written in self.class_names:
                return self.classes.get(written, written)
            known = [f"{key!r} ({name})" if key != name else repr(key)
                     for key, name in self.classes.items()]  # fmt: skip
            raise ValueError(f"is {written!r:.40}, {self.title} has {', '.join(known)}")
        try:
            right = 0 <= float(written) <= self.most
        except ValueError:
            right = False
        if not right:
            raise ValueError(
                f"is {written!r:.40}, {self.title} has numbers from 0 to {self.most:g}"
            )
        return written

    def expected(self) -> str:
        """In words, what a file of it looks like."""
        named = [", ".join(name for name in one if name) for one in self.columns]
        found = f"a first line that names {' or '.join(named)}"
        if self.bare:
            more = " or more" if self.longer else ""
            found += f", or rows of {len(self.bare)}{more} columns: {', '.join(self.bare)}"
        return found


def _inference(*classes: str) -> dict[str, str]:
    """Classes by their names and, as the copies of the Hugging Face Hub write them, by numbers."""
    return {name: name for name in classes} | {str(n): name for n, name in enumerate(classes)}


THREE = _inference("entailment", "neutral", "contradiction")
TWO = _inference("entailment", "not_entailment")
SENTENCES = Columns("sentence1", "sentence2", "label")
ON_THE_HUB = Columns("premise", "hypothesis", "label")

_ALL = (
    PublishedTask(
        "cola", "CoLA",
        question="Would a speaker of English say it so?",
        example='"The cats sleeps on a mat." → unacceptable',
        examples=8_551,
        metrics=(MATTHEWS,),
        columns=(Columns("sentence", "", "label"),),
        bare=("source", "label", "star", "sentence"),
        classes={"0": "unacceptable", "1": "acceptable"},
        paper="Warstadt et al. 2018, arXiv:1805.12471",
    ),
    PublishedTask(
        "sst-2", "SST-2",
        question="Is a sentence of a film review for the film or against it?",
        example='"Two hours that I shall not get back." → negative',
        examples=67_349,
        metrics=(ACCURACY,),
        columns=(Columns("sentence", "", "label"),),
        classes={"0": "negative", "1": "positive"},
        paper="Socher et al. 2013",
    ),
    PublishedTask(
        "mrpc", "MRPC",
        question="Do two sentences of the news say the same?",
        example='"Shares fell by 2 percent." / "The stock lost 2 percent." → paraphrase',
        examples=3_668,
        metrics=(F1, ACCURACY),
        columns=(Columns("#1 String", "#2 String", "Quality"), SENTENCES),
        classes={"0": "different", "1": "paraphrase"},
        paper="Dolan and Brockett 2005",
    ),
    PublishedTask(
        "qqp", "QQP",
        question="Do two questions put to Quora ask the same?",
        example='"How do I learn to swim?" / "What is the best way to learn swimming?" → duplicate',
        examples=363_846,
        metrics=(F1, ACCURACY),
        columns=(
            Columns("question1", "question2", "is_duplicate"),
            Columns("question1", "question2", "label"),
        ),
        classes={"0": "different", "1": "duplicate"},
        broken=True,
        paper="Quora question pairs, 2017",
    ),
    PublishedTask(
        "sts-b", "STS-B",
        question="How alike is what two sentences say, from 0 to 5?",
        example='"A man cuts an onion." / "A man slices a vegetable." → perhaps 3.5',
        examples=5_749,
        metrics=(PEARSON, SPEARMAN),
        columns=(Columns("sentence1", "sentence2", "score"), SENTENCES),
        bare=("genre", "file", "year", "index", "score", "sentence1", "sentence2"),
        longer=True,
        most=5.0,
        paper="Cer et al. 2017, arXiv:1708.00055",
    ),
    PublishedTask(
        "snli", "SNLI",
        question="If the first sentence is so, is the second, can it be, or can it not?",
        example='"I saw the little dog." / "I saw the dog." → entailment; the other way: neutral',
        examples=549_367,
        metrics=(ACCURACY,),
        columns=(Columns("sentence1", "sentence2", "gold_label"), ON_THE_HUB),
        classes=THREE,
        no_label=("-", "-1"),
        paper="Bowman et al. 2015, arXiv:1508.05326",
    ),
    PublishedTask(
        "mnli", "MNLI",
        question="As SNLI, of texts of ten kinds: m tests on the five that training has, mm on "
        "five others.",
        example='"Nobody came to the talk." / "The room was full." → contradiction',
        examples=392_702,
        metrics=(ACCURACY,),
        columns=(Columns("sentence1", "sentence2", "gold_label"), ON_THE_HUB),
        classes=THREE,
        no_label=("-", "-1"),
        paper="Williams et al. 2018, arXiv:1704.05426",
    ),
    PublishedTask(
        "qnli", "QNLI",
        question="Does the sentence hold the answer to the question? (SQuAD, cut into pairs)",
        example='"When was the bridge built?" / "It is 200 metres long." → not_entailment',
        examples=104_743,
        metrics=(ACCURACY,),
        columns=(Columns("question", "sentence", "label"),),
        classes=TWO,
        paper="Wang et al. 2018, from Rajpurkar et al. 2016",
    ),
    PublishedTask(
        "rte", "RTE",
        question="Does the second sentence follow from the first?",
        example='"Ada moved from Rome to Oslo." / "Ada lives in Rome." → not_entailment',
        examples=2_490,
        metrics=(ACCURACY,),
        columns=(SENTENCES,),
        classes=TWO,
        paper="Dagan et al. 2006 to Bentivogli et al. 2009",
    ),
    PublishedTask(
        "wnli", "WNLI",
        question="Is it this that the pronoun of the first sentence means?",
        example='"The cup is not in the box, it is too big." / "The cup is too big." → entailment',
        examples=635,
        metrics=(ACCURACY,),
        columns=(SENTENCES,),
        classes={"0": "not_entailment", "1": "entailment"},
        paper="Levesque et al. 2012, as pairs in Wang et al. 2018",
    ),
)  # fmt: skip

TASKS: Mapping[str, PublishedTask] = {task.name: task for task in _ALL}
LAYOUTS = ("", *sorted(TASKS))  # what ``Fields.layout`` may be; "": columns by their names


class Other(NamedTuple):
    """A task of the same table of tasks whose examples are neither one text nor two."""

    title: str
    question: str
    example: str
    examples: int
    metric: str
    paper: str
    read: str  # how ``minissl adapt`` takes its files


OTHERS = (
    Other(
        "SWAG", "Which of four endings goes on from here? Each is scored with the beginning.",
        '"She opens the umbrella and" → "steps out into the rain."', 73_546, "accuracy",
        "Zellers et al. 2018, arXiv:1808.05326",
        "--form choice: its published .csv, or a table with columns ending0, ending1, ...",
    ),
    Other(
        "SQuAD 1.1", "From which word to which does the paragraph answer the question?",
        '"Who built it?" in "Romans built it in the year 80." → "Romans"', 87_599,
        "F1 of the words, exact match", "Rajpurkar et al. 2016, arXiv:1606.05250",
        "its published .json, 1.1 or 2.0",
    ),
    Other(
        "CoNLL-2003", "Which words name a person, a place, an organization, or something else?",
        '"Ada lives in Oslo" → B-PER O O B-LOC', 14_041, "F1 of the names",
        "Tjong Kim Sang and De Meulder 2003, arXiv:cs/0306050",
        "a .conll file (word first, tag last; an empty line ends a sentence), or a .conllu",
    ),
)  # fmt: skip

"""Zero-shot against models whose probabilities are known: bigrams of bytes, and a fixed prior."""

import csv
import io
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from minissl.adapt.method import Task
from minissl.adapt.prompting.zero_shot import Scoring, Writing, ZeroShot, ZeroShotSettings
from minissl.adapt.run import adapt, open_adaptation
from minissl.cli import main
from minissl.data import Kept
from minissl.data.streams import make_streams
from minissl.data.texts import LabelledTexts, Texts
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.language.lstm import LSTMPretraining, LSTMSettings
from minissl.pretrain.run import open_run, pretrain
from minissl.text import Tokenizer
from minissl.text.documents import SEPARATOR, Document

BYTES = Tokenizer.train([], 257, special_tokens=[SEPARATOR])
READER = make_streams([], [], BYTES, Kept())


class Bigrams:
    """ln p of a text's next byte, from a table (257, 257) of float64; 256 begins a document."""

    def __init__(self, context_length=math.inf):
        table = np.random.default_rng(0).random((257, 257)) ** 4
        self.table = np.log(table / table.sum(axis=1, keepdims=True))
        self.network = SimpleNamespace(context_length=context_length)
        self.asked = []

    def score(self, prompts, answers):
        self.asked += [*prompts]
        found = []
        for prompt, answer in zip(prompts, answers, strict=True):
            last = [256, *prompt.encode()][-1]
            total = 0.0
            for byte in answer.encode():
                total, last = total + self.table[last, byte], byte
            found.append(total)
        return np.array(found)


class Telling:
    """Writes and scores what it was told to, of texts by what they hold."""

    def __init__(self, told, prior=None, context_length=1000):
        self.told, self.prior = told, prior or {}
        self.network = SimpleNamespace(context_length=context_length)
        self.asked = []

    def sample(self, prompt, count, *, temperature, write, allow_special, **others):
        assert temperature == 0
        assert allow_special == "none"
        self.asked.append((prompt.decode(), count))
        for key, answer in self.told.items():
            if key in prompt.decode():
                for byte in answer.encode()[:count]:
                    write(bytes([byte]))

    def score(self, prompts, answers):
        """The prior of the words, and 1 nat more where the text holds what tells them."""
        pairs = zip(prompts, answers, strict=True)
        return np.array(
            [
                self.prior[answer] + sum(k in prompt and w == answer for k, w in self.told.items())
                for prompt, answer in pairs
            ]
        )


def asked(method, texts, labels, class_names, **settings):
    """The adaptation of this method on texts, all of which are held out, and their tokens."""
    documents = [Document(str(i), "t", text) for i, text in enumerate(texts)]
    raw = LabelledTexts(documents, np.array(labels), class_names)
    task = Task(Kept(), READER, class_names, len(texts), READER.labelled(raw)).unseen(raw)
    settings = ZeroShotSettings(**settings)
    opened = SimpleNamespace(method=method, name="toy")
    made = ZeroShot.build(settings, opened, task)
    made.task = Task(Kept(), READER, class_names, len(texts), task.held_out, task.held_out)
    made.solve()
    return made, task.held_out.inputs


# ---- by scoring ----------------------------------------------------------------------------------

TEXTS = ("one film", "", "żółć {x} {text}", "a\n\nb {class}")


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("calibrate", [False, True])
def test_scores_are_those_of_the_bigrams_by_hand(per_token, calibrate):
    model = Bigrams()
    made, inputs = asked(
        model, TEXTS, [0, 1, 0, 1], ("bad", "good"),
        template="Q: {text} It was {class}.", words="good=fine, bad=not {text}",
        per_token=per_token, calibrate=calibrate, content_free="N/A",
    )  # fmt: skip
    assert isinstance(made, Scoring)
    scores = made.scores(inputs)

    def by_hand(text, words):
        def chain(prompt):
            p = 1.0
            whole = prompt + words
            for i in range(len(prompt), len(whole)):
                p *= math.exp(model.table[whole[i - 1], whole[i]])
            return p

        value = math.log(chain(f"Q: {text} It was".encode()))
        value -= math.log(chain(b"Q: N/A It was")) if calibrate else 0
        return value / len(words) if per_token else value

    expected = [[by_hand(text, w) for w in (b" not {text}.", b" fine.")] for text in TEXTS]
    np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=1e-12)
    assert {f"Q: {text} It was" for text in TEXTS} <= {*model.asked}
    assert ("Q: N/A It was" in model.asked) == calibrate  # and no other text without content
    assert len({*model.asked}) == len(TEXTS) + calibrate
    shares = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(made.probabilities(inputs), shares, rtol=1e-12)
    np.testing.assert_array_equal(made.predict(inputs), np.argmax(expected, axis=1))


def test_calibration_removes_a_prior_exactly():
    """One class is e⁵ times as likely whatever was read; a text moves its class by one nat."""
    told = {"sun": " up", "rain": " down"}
    texts, labels = ["the sun", "the rain", "more rain", "sun"], [1, 0, 0, 1]
    found = {}
    for calibrate in (False, True):
        method = Telling(told, {" up": -6.0, " down": -1.0})
        made, inputs = asked(
            method, texts, labels, ("down", "up"), template="{text} goes", calibrate=calibrate
        )
        found[calibrate] = made.evaluate()
        if calibrate:
            np.testing.assert_array_equal(made.scores(inputs), [[0, 1], [1, 0], [1, 0], [0, 1]])
    assert found[False]["held_out_accuracy"] == 0.5
    assert found[True]["held_out_accuracy"] == 1
    assert found[True]["baseline_most_frequent_class"] == 0.5
    assert found[True]["baseline_chance"] == 0.5


def test_zhao_and_holtzman_name_the_same_class():
    """W p with W = diag(p content-free)⁻¹ over the classes, as Zhao et al. write it."""
    model = Bigrams()
    names = ("aa", "b", "cac")
    made, inputs = asked(model, TEXTS, [0, 1, 2, 0], names, template="{text}\n{class}")
    p = np.exp(made._log_probabilities([made.prompt(tokens) for tokens in inputs]))
    p /= p.sum(axis=1, keepdims=True)
    free = np.exp(model.score([""] * 3, ["\naa", "\nb", "\ncac"]))
    w = np.diag(1 / (free / free.sum()))
    np.testing.assert_array_equal(made.predict(inputs), (p @ w).argmax(axis=1))


def test_a_longer_name_is_behind_its_beginning_until_it_ends_or_is_shared_out():
    """ln p("good") ≥ ln p("goodish") after anything: an end, or per token, makes it a contest."""
    made, inputs = asked(Bigrams(), TEXTS, [0, 1, 0, 1], ("good", "goodish"), calibrate=False)
    assert (made.predict(inputs) == 0).all()
    made, inputs = asked(
        Bigrams(), TEXTS, [0, 1, 0, 1], ("good", "goodish"), template="{text} {class}@",
        calibrate=False,
    )  # fmt: skip
    assert made.answers == [" good@", " goodish@"]


@pytest.mark.parametrize("context", [24, 25, 40])
@pytest.mark.parametrize("answers", ["score", "generate"])
def test_a_long_text_is_cut_so_that_template_and_answer_have_room(context, answers):
    method = Telling({"": " no"}, {" no": -1.0, " yes!": -2.0}, context_length=context)
    text = "żółć " * 30
    made, (tokens,) = asked(
        method, [text], [0], ("no", "yes!"), template="It: {text} so", answers=answers, tokens=7
    )
    prompt = made.prompt(tokens)
    assert prompt.startswith("It: ż")
    assert prompt.endswith(" so")
    assert text.startswith(prompt[4:-3].rstrip(" "))
    used = 1 + len(prompt.encode()) + {"score": len(" yes!"), "generate": 7}[answers]
    assert context - 1 <= used <= context, "all but half of a letter"
    assert made.prompt(READER.tokens("ab")) == "It: ab so"


def test_what_has_no_room_at_all_is_refused():
    with pytest.raises(
        ValueError, match=r"template with '' as text is 8 tokens, and .* room for 6"
    ):
        asked(Telling({}, {}, 10), ["a"], [0], ("no", "yes"), template="It: {text} so")
    with pytest.raises(ValueError, match="give a shorter template, or fewer tokens"):
        asked(Telling({}, {}, 10), ["a"], [0], ("no", "yes"), answers="generate", tokens=99)
    with pytest.raises(ValueError, match="with 'long long long ' as text"):
        asked(Bigrams(20), ["a"], [0], ("n", "y"), template="{text} so", content_free="long " * 3)


# ---- by writing ----------------------------------------------------------------------------------


def test_what_is_written_is_read_and_what_cannot_be_is_counted():
    told = {"one": " Good. bad", "two": " a badger", "three": " BAD!", "<|endoftext|>": " good"}
    made, inputs = asked(
        Telling(told), ["one", "two", "three", "<|endoftext|>"], [1, 0, 1, 1], ("bad", "good"),
        template="{text}? {class}", answers="generate", tokens=9,
    )  # fmt: skip
    assert isinstance(made, Writing)
    assert made.predict(inputs).tolist() == [1, -1, 0, 1]
    assert made.base.asked[0] == ("one?", 9)
    metrics = made.evaluate()
    assert metrics["held_out_accuracy"] == 0.5
    assert metrics["held_out_without_answer"] == 0.25
    assert metrics["baseline_most_frequent_class"] == 0.75


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"template": "no blank"}, "template has no braces, in 'no blank': expected {text}"),
        ({"template": "{text} {text}"}, "template has {text} {text}"),
        ({"template": "{class}: {text}"}, "template has {class} {text}"),
        ({"template": "{text} {label}"}, "template has {text} {label}"),
        ({"template": ""}, "template has no braces"),
        ({"answers": "ask"}, "answers must be one of score, generate"),
        ({"tokens": 0}, "tokens must be a whole number ≥ 1"),
    ],
)
def test_settings_that_mean_nothing(changes, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        ZeroShotSettings(**changes)


def test_classes_that_cannot_be_asked_for():
    silent = SimpleNamespace(
        tokens=lambda text: [256] if "dumb" in text else READER.tokens(text),
        text_of=READER.text_of,
    )
    task = Task(Kept(), silent, ("dumb", "loud"), 3)
    opened = SimpleNamespace(method=Bigrams(), name="toy")
    with pytest.raises(ValueError, match="words of class 'dumb' are no token"):
        ZeroShot.build(ZeroShotSettings(), opened, task)
    with pytest.raises(ValueError, match="two classes have the words 'so' and 'so'"):
        asked(Bigrams(), ["a"], [0], ("no", "yes"), words="no=so,yes=so")
    with pytest.raises(ValueError, match="two classes have the words 'US' and 'us'"):
        asked(Telling({}), ["a"], [0], ("US", "us"), answers="generate")
    with pytest.raises(ValueError, match="a run of toy cannot write"):
        asked(Bigrams(), ["a"], [0], ("no", "yes"), answers="generate")
    made, inputs = asked(Bigrams(), ["a"], [0], ("US", "us"))
    assert made.scores(inputs).shape == (1, 2)


# ---- of real runs --------------------------------------------------------------------------------

TINY = {"vocab_size": 300, "width": 16, "context_length": 32, "steps": 2, "evaluations": 1}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(GPTPretraining, GPTSettings(**TINY)), (LSTMPretraining, LSTMSettings(**TINY))],
)
def test_from_the_command_line_and_back(kind, settings, tmp_path, capsys):
    run, made = tmp_path / "run", tmp_path / "made"
    pretrain(kind, Texts.toy(), settings, run, progress=False)
    table = tmp_path / "texts.csv"
    texts = [f"{{a}} 100% ☃ {i} <|endoftext|>" + " long" * (i % 3) * 40 for i in range(12)]
    rows = [*zip(texts, "abababababab")]
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    main(["adapt", "zero-shot", str(run), str(table), "--run", str(made), "--quiet",
          "--template", "{text} It is", "--words", "a=good, b=very bad"])  # fmt: skip
    printed = capsys.readouterr().out
    assert "held out accuracy" in printed
    assert "baseline most frequent class" in printed
    assert "weights trained" not in printed
    main(["evaluate", str(made), str(table)])
    assert "held out accuracy" in capsys.readouterr().out
    main(["predict", str(made), str(table)])
    told = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(told) == 12
    assert {row["prediction"] for row in told} <= {"a", "b"}
    opened = open_adaptation(made)
    inputs = [opened.data.base.tokens(text) for text, _ in rows]
    probabilities = opened.method.probabilities(inputs)
    for row, p in zip(told, probabilities):
        assert row["probability"] == f"{p.max():.4f}"


def test_a_table_has_no_name_where_none_was_written(tmp_path, capsys):
    pretrain(GPTPretraining, Texts.toy(), GPTSettings(**TINY), tmp_path / "run", progress=False)
    opened = open_run(tmp_path / "run")
    settings = ZeroShotSettings(answers="generate", words="sitting=zyx,running=xyz")
    made = adapt(ZeroShot, opened, LabelledTexts.toy(), settings, tmp_path / "made", progress=False)
    assert made.history.latest("held_out_without_answer") == 1
    (tmp_path / "new.csv").write_text("text\nthe cat\n", encoding="utf-8")
    main(["predict", str(tmp_path / "made"), str(tmp_path / "new.csv")])
    assert capsys.readouterr().out.splitlines()[-1].endswith(",")


def test_a_text_that_spells_the_separator_ends_no_document(tmp_path, monkeypatch):
    pretrain(GPTPretraining, Texts.toy(), GPTSettings(**TINY), tmp_path, progress=False)
    opened = open_run(tmp_path)
    task = Task(opened.data.kept, opened.data, ("a", "b"), 3)
    made = ZeroShot.build(ZeroShotSettings(answers="generate", template="{text}"), opened, task)
    prompts = []
    monkeypatch.setattr(
        "minissl.pretrain.language_model.generate",
        lambda _, prompt, *others, **more: prompts.append(prompt),
    )
    tokens = opened.data.tokens("a<|endoftext|>b")
    assert made.predict([tokens]).tolist() == [-1]
    assert prompts == [tokens]
    assert prompts[0].count(opened.data.separator) == 1

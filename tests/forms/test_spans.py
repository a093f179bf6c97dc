"""Spans of a text: scores, the best of them, windows, and SQuAD's metrics, against other ways."""

import json

import numpy as np
import pytest
import torch

from minissl.adapt import load_adaptation
from minissl.adapt.run import adapt, open_adaptation
from minissl.autograd.gradcheck import gradcheck
from minissl.autograd.tensor import Tensor
from minissl.cli import main
from minissl.data.in_context import InContext, context_reader, word_places
from minissl.data.labels import Labelled
from minissl.data.questions import Answer, Question, Questions
from minissl.forms import load_form
from minissl.forms.answers import exact_match, f1_of_words, normalized
from minissl.forms.spans import NO_PLACE, Spans, best_span, targets
from minissl.losses.language_modeling import IGNORE
from minissl.nn.layers import Embedding
from minissl.nn.module import Module
from minissl.pretrain import load_method
from minissl.pretrain.layered import Layered
from minissl.pretrain.run import open_run, pretrain
from tests.adapt.toy import adapting, toy_base
from tests.pretrain.toy import toy_data, toy_settings

CLS, SEP = 0, 1


# ---- a network that can be computed by hand ------------------------------------------------------


class Lookup(Layered):
    """The state of a token is a row of a table, whatever stands around it; some padding first."""

    def __init__(self, width=5, longest=1000, before=0, size=60, dtype=np.float64):
        self.model = Module()
        self.model.tokens = Embedding(size, width, generator=np.random.default_rng(1))
        self.model.astype(dtype)
        self.limit, self.before, self.dtype = longest, before, dtype

    longest = property(lambda self: self.limit - self.before)
    width = property(lambda self: self.model.tokens.weight.shape[1])
    num_states = 1

    def padded(self, examples):
        size = max(map(len, examples))
        tokens = np.full((len(examples), self.before + size), 2)
        weights = np.zeros(tokens.shape, self.dtype)
        for row, example in enumerate(examples):
            tokens[row, self.before : self.before + len(example)] = example
            weights[row, self.before : self.before + len(example)] = 1 / len(example)
        return tokens, weights

    def states(self, batch, generator=None):
        return [self.model.tokens(batch[0])]


def in_words(question, words, none_first=True):
    """A question and a text of one-letter words, each with its tokens."""
    text = " ".join("x" * len(words))
    places = word_places(text)
    return InContext(question, words, text, places, (CLS, [SEP], SEP), none_first=none_first)


def made(width, may_be_none=False, dtype=np.float64, seed=0):
    """A head with vectors of a normal distribution."""
    train = Labelled([], (), [()] if may_be_none else [(Answer("x", 0),)], (), np.zeros(0), "")
    generator = np.random.default_rng(seed)
    head = Spans().head(width, generator, train)
    head.linear.weight.array = generator.standard_normal((2, width)).astype(dtype)
    head.may_be_none = Tensor(head.may_be_none.numpy().astype(dtype))
    return head


def random_questions(generator, count=6, words=9, none_first=True):
    """Words of one to three tokens, and an answer of some words for each, or none."""
    inputs, labels = [], []
    for i in range(count):
        size = int(generator.integers(1, words + 1))
        sizes = generator.integers(1, 4, size)
        tokens = [generator.integers(3, 60, n).tolist() for n in sizes]
        one = in_words(generator.integers(3, 60, 3).tolist(), tokens, none_first)
        first, last = np.sort(generator.integers(0, size, 2))
        begin, end = one.places[first, 0], one.places[last, 1]
        inputs.append(one)
        labels.append(() if i == 2 else (Answer(one.text[begin:end], int(begin)),))
    return inputs, labels


def by_hand(base, head, one):
    """S · T and E · T of [CLS] and each word of a text that is read at once: two lists."""
    table, (s, e) = base.model.tokens.weight.numpy(), head.linear.weight.numpy()
    none = table[SEP if not one.none_first else CLS]
    begins = [s @ none, *(s @ table[word[0]] for word in one.words)]
    ends = [e @ none, *(e @ table[word[-1]] for word in one.words)]
    return np.array(begins), np.array(ends)


def best_by_trying(begins, ends, most=30):
    """All spans: the first of the best."""
    spans = [(i, j) for i in range(len(begins)) for j in range(i, min(i + most, len(ends)))]
    return max(spans, key=lambda span: begins[span[0]] + ends[span[1]])


# ---- scores and loss -----------------------------------------------------------------------------


@pytest.mark.parametrize("none_first", [True, False])
@pytest.mark.parametrize("before", [0, 3])
def test_scores_loss_and_gradient_are_those_of_torch(before, none_first):
    """Also where a base puts something before the text."""
    base, form = Lookup(before=before), Spans()
    inputs, labels = random_questions(np.random.default_rng(0), none_first=none_first)
    head = made(5)
    batch, wanted = form.batch(base, inputs, labels)
    outputs = form.outputs(base, head, batch)
    weight = torch.tensor(head.linear.weight.numpy(), requires_grad=True)
    table = torch.tensor(base.model.tokens.weight.numpy(), requires_grad=True)
    losses = []
    for row, (one, label) in enumerate(zip(inputs, labels)):
        none = table[CLS if none_first else SEP]
        sides = []
        for side, which in enumerate((0, -1)):
            states = torch.stack([none, *(table[word[which]] for word in one.words)])
            sides.append(states @ weight[side])
        expected = torch.stack(sides)
        np.testing.assert_allclose(
            outputs.numpy()[row, :, : len(one.words) + 1], expected.detach(), rtol=1e-12
        )
        assert (outputs.numpy()[row, :, len(one.words) + 1 :] < NO_PLACE / 2).all()
        span = one.words_of(label[0].begin, label[0].begin + len(label[0].text)) if label else None
        goal = [1 + span[0], 1 + span[1]] if span else [0, 0]
        assert wanted[row].tolist() == goal
        losses += [torch.nn.functional.cross_entropy(expected, torch.tensor(goal))]
    loss = form.loss(outputs, wanted)
    expected = torch.stack(losses).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    loss.backward()
    expected.backward()
    np.testing.assert_allclose(head.linear.weight.grad, weight.grad, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(base.model.tokens.weight.grad, table.grad, rtol=1e-9, atol=1e-14)
    labelled = Labelled(inputs, ("",) * 6, labels, (), np.zeros((6, 0)), "", None, "span")
    assert form.evaluate(base, head, labelled)["loss"] == pytest.approx(loss.item(), rel=1e-12)


def test_the_gradient_is_that_of_differences():
    base, form, head = Lookup(longest=12), Spans(), made(5)
    inputs, labels = random_questions(np.random.default_rng(5), count=3)
    batch, wanted = form.batch(base, inputs, labels)

    def loss(weight):
        head.linear.weight = weight
        return form.loss(form.outputs(base, head, batch), wanted)

    gradcheck(loss, [head.linear.weight.numpy()])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_have_the_type_of_the_weights(dtype):
    inputs, labels = random_questions(np.random.default_rng(0))
    base, head = Lookup(dtype=dtype), made(5, dtype=dtype)
    batch, wanted = Spans().batch(base, inputs, labels)
    outputs = Spans().outputs(base, head, batch)
    assert outputs.numpy().dtype == dtype
    assert Spans().loss(outputs, wanted).numpy().dtype == dtype


def test_a_window_without_the_answer_points_at_none():
    inputs, labels = random_questions(np.random.default_rng(3), count=8, words=20)
    base = Lookup(longest=14)
    (places, _), wanted = Spans().batch(base, inputs, labels)
    assert len(wanted) > len(inputs)
    for i, (one, label) in enumerate(zip(inputs, labels)):
        rows = np.flatnonzero(places.examples == i)
        span = one.words_of(label[0].begin, label[0].begin + len(label[0].text)) if label else None
        for row, window in zip(rows, one.windows(14)):
            inside = (
                span and window.first <= span[0] and span[1] < window.first + len(window.begins)
            )
            offset = 1 - window.first
            expected = [span[0] + offset, span[1] + offset] if inside else [0, 0]
            assert wanted[row].tolist() == expected


def test_an_answer_without_a_known_word_is_not_learned():
    base, form = Lookup(), Spans()
    (one, *_), _ = random_questions(np.random.default_rng(0))
    spaces = replace_places(one, one.places[:0], [])
    batch, wanted = form.batch(base, [spaces], [(Answer("x", 0),)])
    assert wanted.tolist() == [[IGNORE, IGNORE]]
    assert form.loss(form.outputs(base, made(5), batch), wanted).item() == 0
    assert form.predict(base, made(5), [spaces]) == [""]


def replace_places(one, places, words):
    return InContext(one.question, words, one.text, places, one.around, none_first=True)


# ---- the best span -------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 5, 30])
def test_the_best_span_is_that_of_trying_all(most):
    generator = np.random.default_rng(most)
    for _ in range(60):
        size = int(generator.integers(1, 45))
        begins, ends = generator.standard_normal((2, size))
        if generator.random() < 0.3:  # many equal ones
            begins, ends = begins.round(), ends.round()
        i, j = best_span(begins, ends, most)
        assert i <= j < min(i + most, size)
        a, b = best_by_trying(begins, ends, most)
        assert begins[i] + ends[j] == pytest.approx(begins[a] + ends[b], abs=1e-12)
        assert (i, j) == (a, b)


@pytest.mark.parametrize("may_be_none", [False, True])
def test_answers_are_the_best_spans_or_none(may_be_none):
    base, head, form = Lookup(), made(5, may_be_none), Spans()
    inputs, _ = random_questions(np.random.default_rng(4), count=40)
    found = form.answers(base, head, inputs)
    assert form.predict(base, head, inputs) == [given.text for given in found]
    empty = 0
    for one, given in zip(inputs, found):
        begins, ends = by_hand(base, head, one)
        i, j = best_by_trying(begins[1:], ends[1:])
        score = begins[1 + i] + ends[1 + j] - begins[0] - ends[0]
        assert given.score == pytest.approx(score)
        p, q = (np.exp(side) / np.exp(side).sum() for side in (begins, ends))
        if may_be_none and score <= 0:
            empty += 1
            assert given.text == ""
            assert given.probability == pytest.approx(p[0] * q[0])
        else:
            assert given.text == one.answer(i, j)
            assert given.probability == pytest.approx(p[1 + i] * q[1 + j])
    assert bool(empty) == may_be_none
    columns, rows = form.table(base, head, inputs)
    assert columns == ["answer", "probability"]
    assert rows == [[given.text, f"{given.probability:.4f}"] for given in found]


@pytest.mark.parametrize("may_be_none", [False, True])
def test_windows_answer_as_one_long_context_does(may_be_none):
    """Where a state does not depend on what else is read."""
    generator, form, head = np.random.default_rng(2), Spans(), made(5, may_be_none)
    head.linear.weight.array[0] += 2 * Lookup().model.tokens.weight.numpy()[CLS] * may_be_none
    inputs = [
        in_words([5], generator.integers(3, 60, (size, 1)).tolist()) for size in (1, 30, 200, 333)
    ]
    whole = form.answers(Lookup(), head, inputs)
    for longest in (70, 99, 150):
        parts = form.answers(Lookup(longest=longest, before=2), head, inputs)
        assert [one.text for one in parts] == [one.text for one in whole]
        np.testing.assert_allclose([o.score for o in parts], [o.score for o in whole])


@pytest.mark.parametrize(
    ("context", "answer"),
    [
        ("Ada was born.", "Ada"),
        ("It was Ada", "Ada"),
        ("It was\r\nAda e\u0301tude\r\n", "Ada e\u0301tude"),
        ("👩‍👩‍👧 sat", "👩‍👩‍👧"),
        ("sat \u201cNai\u0308ve\u201d, 東京", "Nai\u0308ve\u201d, 東京"),
    ],
)
@pytest.mark.parametrize("name", ["bert", "gpt"])
def test_an_answer_anywhere_comes_back_as_it_was_written(name, context, answer, bases):
    """Whatever the network says: the scores of the right places are raised."""
    opened = bases[name]
    read = context_reader(opened.data)("who?", context)
    span = read.words_of(context.index(answer), context.index(answer) + len(answer))

    class Raised(Spans):
        def outputs(self, base, head, collated, generator=None):
            places, _ = collated
            scores = np.zeros((*places.begins.shape[:1], 2, places.begins.shape[1]))
            label = [(Answer(answer, context.index(answer)),)]
            for row, (begin, end) in enumerate(targets(places, [read], label)):
                scores[row, 0, begin] = scores[row, 1, end] = 9
            return Tensor(scores)

    base = Lookup(size=opened.data.tokenizer.vocab_size)
    assert Raised().predict(base, made(base.width), [read]) == [read.answer(*span)] == [answer]


def test_what_is_not_finite_is_named():
    inputs, labels = random_questions(np.random.default_rng(0))
    base, head, form = Lookup(), made(5), Spans()
    token = inputs[3].words[0][0]
    base.model.tokens.weight.array[token] = np.nan
    first = next(i for i, one in enumerate(inputs) if token in [t for w in one.words for t in w])
    labelled = Labelled(inputs, ("",) * 6, labels, (), np.zeros((6, 0)), "", None, "span")
    with pytest.raises(ValueError, match=r"scores of example \d are not finite"):
        form.predict(base, head, inputs)
    with pytest.raises(ValueError, match=r"scores of example \d are not finite"):
        form.evaluate(base, head, labelled)
    with pytest.raises(ValueError, match="scores of example 0 are not finite"):
        form.predict(base, head, [inputs[first]])


# ---- SQuAD's metrics -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat's mat.", "cats mat"),
        ("an apple a day", "apple day"),
        ("theatre\tAnn", "theatre ann"),
        ("A.", ""),
        ("1,000-mile", "1000mile"),
        ("\u201cso\u201d \u00c9T\u00c9", "\u201cso\u201d \u00e9t\u00e9"),  # ASCII marks alone go
        ("the-a", "thea"),  # marks go first
        ("", ""),
    ],
)  # fmt: skip
def test_answers_are_compared_without_case_marks_and_articles(text, expected):
    assert normalized(text) == expected


@pytest.mark.parametrize(
    ("answer", "right", "match", "f1"),
    [
        ("The cat.", ["cat"], 1, 1),
        ("the old cat", ["cat"], 0, 2 / 3),  # precision 1/2, recall 1
        ("in the year 1852", ["1852", "in 1852"], 0, 2 * (2 / 3 * 1) / (2 / 3 + 1)),
        ("cat cat dog", ["cat dog dog"], 0, 2 / 3),  # two of three, both ways
        ("cat cat", ["cat cat dog"], 0, 4 / 5),  # a word counts as often as both have it
        ("dog", ["cat"], 0, 0),
        ("dog", ["cat", "DOG"], 1, 1),
        ("", [], 1, 1),
        ("dog", [], 0, 0),
        ("", ["dog"], 0, 0),
        ("the", [], 1, 1),  # nothing is left of it
        ("dog", ["the", "dog"], 1, 1),
        ("", ["the"], 1, 1),
        ("", ["the", "dog"], 0, 0),  # what says nothing is no right answer beside one that does
    ],
)
def test_exact_match_and_f1_are_squads(answer, right, match, f1):
    assert exact_match(answer, right) == match
    assert f1_of_words(answer, right) == pytest.approx(f1)
    with pytest.raises(ValueError, match="is one string"):
        f1_of_words("a", "dog")


def test_what_is_measured_is_the_mean_over_questions():
    words = ["dog", "cat", "old", "mat"]
    given = ["dog", "the old dog", "", "cat", ""]
    right = [("dog",), ("dog", "mat"), (), (), ("cat",)]
    labels = [tuple(Answer(text, 0) for text in texts) for texts in right]

    class Said(Spans):
        def _best(self, head, inputs, scores):
            return [
                one._replace(text=t) for one, t in zip(super()._best(head, inputs, scores), given)
            ]

    inputs = [in_words([5], [[9 + n] for n in range(len(words))]) for _ in given]
    labelled = Labelled(inputs, ("",) * 5, labels, (), np.zeros((5, 0)), "", None, "span")
    found = Said().evaluate(Lookup(), made(5), labelled)
    assert found["exact_match"] == pytest.approx(2 / 5)
    assert found["f1"] == pytest.approx((1 + 2 / 3 + 1 + 0 + 0) / 5)
    assert found["no_answer_accuracy"] == 1 / 2
    assert found["has_answer_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    some = Said().evaluate(Lookup(), made(5), labelled.take(np.array([0, 1])))
    assert some.keys() == {"loss", "exact_match", "f1"}


# ---- with every adaptation -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A run of an encoder and one of a decoder."""
    folder = tmp_path_factory.mktemp("bases")
    return {name: toy_base(name, folder / name) for name in ("bert", "gpt")}


WAYS = (
    "finetune", "lora", "adapters", "prompts", "prefixes", "experts", "bias", "last-layers",
    "layers-on-top",
)  # fmt: skip


@pytest.mark.parametrize("base", ["bert", "gpt"])
@pytest.mark.parametrize("name", WAYS)
def test_every_adaptation_answers_and_is_opened_again(name, base, bases, tmp_path):
    data, opened = Questions.toy(), bases[base]
    settings = adapting(name, steps=2)
    kind = load_adaptation(name)
    result = adapt(kind, opened, data, settings, tmp_path, progress=False)
    held_out = result.data.held_out
    expected = result.method.predict(held_out.inputs)
    assert all(text in one.text for text, one in zip(expected, held_out.inputs))
    again = open_adaptation(tmp_path)
    assert again.method.predict(held_out.inputs) == expected
    alone = [again.method.predict([one])[0] for one in held_out.inputs[:4]]
    assert alone == expected[:4]
    scores = again.on(again.data.unseen(Questions.toy(seed=1))).evaluate()
    assert {"held_out_loss", "held_out_exact_match", "held_out_f1"} <= scores.keys()
    assert "held_out_no_answer_accuracy" not in scores
    assert result.history.latest("held_out_f1") == pytest.approx(
        result.method.evaluate()["held_out_f1"]
    )
    with pytest.raises(ValueError, match="begun with other data"):
        adapt(kind, opened, Questions.toy(seed=1), settings, tmp_path, progress=False)


def test_it_computes_the_same_on_another_device(bases, monkeypatch):
    monkeypatch.setattr("minissl.autograd.fused.gpu._interpreted", lambda: False)
    made = [
        adapt(
            load_adaptation("lora"), bases["bert"], Questions.toy(), adapting("lora"),
            progress=False, **about,
        )
        for about in ({}, {"device": "torch"}, {"device": "torch", "precision": "bfloat16"})
    ]  # fmt: skip
    bases["bert"].method.model.to("cpu")
    losses = [one.history.losses()[0] for one in made]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=0.05)
    found = [one.method.evaluate()["held_out_loss"] for one in made[:2]]
    assert found[1] == pytest.approx(found[0], rel=0.01)


def test_what_is_learned_of_questions_without_an_answer_is_kept(bases, tmp_path):
    toys = Questions.toy().questions
    some = [one._replace(answers=()) if i % 2 else one for i, one in enumerate(toys)]
    for name, questions, expected in (("all", toys, 0), ("some", some, 1)):
        adapt(
            load_adaptation("bias"), bases["bert"], Questions(questions), adapting("bias"),
            tmp_path / name, progress=False,
        )  # fmt: skip
        again = open_adaptation(tmp_path / name)
        assert again.method.model.head.may_be_none.numpy() == expected
        scores = again.on(again.data.unseen(Questions(some))).evaluate()
        assert "held_out_no_answer_accuracy" in scores
        if not expected:
            assert scores["held_out_no_answer_accuracy"] == 0


def test_a_run_of_images_and_one_of_pairs_are_refused(tmp_path):
    opened = toy_base("simclr", tmp_path / "images")
    with pytest.raises(ValueError, match="read by a run of texts that cuts them into tokens"):
        adapt(load_adaptation("finetune"), opened, Questions.toy(), adapting("finetune"))
    assert load_form("span") is Spans


def test_the_commands_read_answer_and_measure(bases, tmp_path, capsys):
    toys = Questions.toy().questions
    paragraphs = [
        {"context": one.context + " mat" * 20, "qas": [{
            "id": one.name, "question": one.question,
            "answers": [{"text": a.text, "answer_start": a.begin} for a in one.answers],
        }]} for one in toys
    ]  # fmt: skip
    data = tmp_path / "toys.json"
    data.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    for name in ("bert", "gpt"):
        run = str(tmp_path / f"answers-{name}")
        steps = ["--steps", "2", "--rank", "2", "--quiet"]
        assert (
            main(["adapt", "lora", str(bases[name].folder), str(data), "--run", run, *steps]) == 0
        )
        told = capsys.readouterr().out
        assert "held out f1" in told
        assert "longer" not in told, "they are read in windows"
        assert main(["predict", run, str(data)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "name,answer,probability"
        assert lines[1].startswith(f"{toys[0].name},")
        assert len(lines) == 41
        assert main(["evaluate", run]) == 0
        assert "exact match" in capsys.readouterr().out


def small_encoder(folder):
    """Two layers of width 32 that have learned nothing: labels have to teach them."""
    settings = toy_settings("bert", num_layers=2, width=32, num_heads=4, context_length=20)
    pretrain(load_method("bert"), toy_data("bert", settings), settings, folder, progress=False)
    return open_run(folder)


def learned(opened, data, seed=0):
    """What is measured after two hundred steps on all weights."""
    kind = load_adaptation("finetune")
    settings = kind.Settings(steps=200, learning_rate=3e-3, evaluations=1)
    return adapt(kind, opened, data, settings, seed=seed, progress=False).method.evaluate()


def words_asked_for(count=300):
    """The answer is where the text has the word that is the question."""
    generator = np.random.default_rng(0)
    words = ["cat", "dog", "bird", "mat", "log", "song", "sat", "ran", "sang"]
    questions = []
    for number in range(count):
        text = " ".join(generator.permutation(words)[:7])
        word = str(generator.choice(text.split()))
        questions.append(Question(str(number), word, text, (Answer(word, text.index(word)),)))
    return Questions(questions)


def test_a_small_encoder_learns_to_find_the_word_that_is_asked_for(tmp_path):
    found = learned(small_encoder(tmp_path), words_asked_for())
    assert found["held_out_exact_match"] == found["held_out_f1"] == 1
    assert found["held_out_loss"] < 0.1

"""The numbers quoted in lectures 01 to 03, computed again, and checked to stand in the text."""

import json
import re
import sys
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from minissl.autograd import Tensor, checked, gradcheck, nodes
from minissl.autograd import operations as ops
from minissl.claims.experiments.text import agglutination, word_growth
from minissl.losses.contrastive import chance_level
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.text import (
    CL100K,
    GPT2,
    Bytes,
    Characters,
    Tokenizer,
    WordVocabulary,
    show_tokens,
)  # fmt: skip
from minissl.text.bag_of_words import (
    count_vectors,
    inverse_document_frequency,
    presence_vectors,
    tf_idf,
)  # fmt: skip
from minissl.text.bpe import count_pairs, learn_merges, merge, segment
from tests.lectures.reading import LECTURES, figures, text

CLAIMS = LECTURES / "claims"


def quotes(number, *passages):
    for passage in passages:
        assert passage in text(number), f"lecture {number} does not say {passage!r}"


# ---- 01 ------------------------------------------------------------------------------------------

SENTENCES = (
    "the cat sleeps",
    "the dog sleeps",
    "the cat eats bread",
    "the dog eats cheese",
    "she buys bread",
    "she buys cheese",
)


def neighbours(word, sentences):
    """Counts of (the _, eats _, buys _, _ sleeps, _ eats, _ end)."""
    pairs = [p for s in sentences for p in zip(s.split(), [*s.split()[1:], "end"])]
    before = [pairs.count((left, word)) for left in ("the", "eats", "buys")]
    return np.array(before + [pairs.count((word, right)) for right in ("sleeps", "eats", "end")])


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_01_the_model_by_hand():
    phi = {w: neighbours(w, SENTENCES) for w in ("cat", "dog", "bread", "cheese")}
    for word, row in phi.items():
        quotes("01", f"| {word} | " + " | ".join(map(str, row)) + " |")
    assert cosine(phi["dog"], phi["cat"]) == pytest.approx(1)
    assert cosine(phi["dog"], phi["bread"]) == 0
    cheese = neighbours("cheese", (*SENTENCES, "the cheese sleeps"))
    quotes("01", f"({', '.join(map(str, cheese))})")
    for word in ("bread", "cat"):
        quotes("01", f"= {cosine(cheese, phi[word]):.3f}")


def test_01_parameters_and_starting_losses():
    model = SimCLR.new_model(SimCLRSettings(), seed=0)
    quotes("01", f"{model.encoder.num_parameters():,}")
    quotes("01", f"{model.head.num_parameters():,}", f"{128 * 10 + 10:,}")
    quotes("01", rf"\ln 10 = {np.log(10):.3f}", rf"{chance_level('nt_xent', 128):.3f}, which is")
    quotes("02", f"{model.num_parameters():,}", f"{2 * model.num_parameters():,}")


# ---- 02 ------------------------------------------------------------------------------------------


def test_02_the_worked_examples():
    loss, leaves = figures("02")["worked_example"]()
    assert loss.item() == 16
    loss.backward()
    assert [leaves[name].grad.item() for name in "abc"] == [-24, 16, 8]
    quotes("02", "# -24, 16, 8")
    loss, x = figures("02")["diamond_example"]()
    assert loss.item() == 54
    loss.backward()
    assert x.grad == 162

    for g, expected in (((1, 0), (0.1875, -0.1875)), ((1, 1), (0, 0))):
        a = Tensor(np.array([0, np.log(3)]), requires_grad=True)
        ops.softmax(a).backward(np.array(g, float))
        np.testing.assert_allclose(a.grad, expected, atol=1e-15)

    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    b = Tensor(np.zeros(3), requires_grad=True)
    ((x + b) ** 2).sum().backward()
    assert b.grad.tolist() == [6, 10, 14]
    quotes("02", "(6, 10, 14)")

    a = Tensor(np.zeros((3, 2)), requires_grad=True)
    rows = np.array([[1.0, 1.0], [10.0, 10.0], [100.0, 100.0]])
    ops.take(a, np.array([2, 0, 2])).backward(rows)
    assert a.grad.tolist() == [[10, 10], [0, 0], [101, 101]]
    a = Tensor([2.0, 2.0, 1.0], requires_grad=True)
    ops.max(a).backward()
    assert a.grad.tolist() == [0.5, 0.5, 0]


def test_02_the_table_of_planted_mistakes():
    table = figures("02")["noticed_by_each_check"]()
    for mistake, measured in table.items():
        row = re.search(rf"\| {re.escape(mistake)} \|((?: \d+ % \|){{4}})", text("02"))
        assert row, f"lecture 02 has no row for {mistake!r}"
        printed = [int(n) for n in re.findall(r"\d+", row[1])]
        np.testing.assert_allclose(printed, measured, atol=5, err_msg=mistake)
        assert measured[-1] == 100


def test_02_the_message_of_a_failure():
    wrong, x = figures("02")["softmax_zero"], np.random.default_rng(0).standard_normal((2, 3))
    with pytest.raises(AssertionError, match="backward says") as raised:
        gradcheck(wrong, [x])
    first_lines = str(raised.value).split("\n")[:3]
    quotes("02", "AssertionError: " + " ".join(" ".join(first_lines).split()))


def test_02_the_step():
    errors, steps = figures("02")["step_errors"], 10 ** np.linspace(-9, -0.7, 200)
    second, fourth = figures("02")["second_order"], figures("02")["fourth_order"]
    assert 1e-6 < errors(second, np.float32, steps[steps > 1e-6]).min() < 1e-5
    assert errors(second, np.float64, steps).min() == pytest.approx(5e-12, rel=0.6)
    best = errors(fourth, np.float64, steps)
    assert best.min() == pytest.approx(3e-14, rel=0.6)
    assert 5e-4 < steps[best.argmin()] < 3e-3
    assert errors(second, np.float64, np.array([1e-3]))[0] == pytest.approx(1.7e-7, rel=0.05)


def test_02_what_goes_wrong():
    x = Tensor([1.0, 2.0], requires_grad=True)
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match=r"its graph was freed by the first backward\(\)"):
        loss.backward()
    with pytest.raises(TypeError, match=r"where.*concatenate"):
        x[0] = 5.0
    with pytest.raises(TypeError, match="got float32 and float64; tensors are never promoted"):
        x * np.ones(2)
    assert (np.ones(2, np.float32) * np.sqrt(64)).dtype == np.float64
    assert (x * np.sqrt(64)).dtype == np.float32
    with pytest.raises(TypeError):
        np.sin(x)
    with pytest.raises(ValueError, match="kink"):
        gradcheck(ops.relu, [np.zeros(3)])

    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    x.array[0] = 100  # nobody sees it, outside of checked()
    y.backward(np.ones(2, np.float32))
    assert x.grad.tolist() == [200, 4]
    with checked():
        x = Tensor([1.0, 2.0], requires_grad=True)
        y = x * x
        z = x + 1.0
        with np.errstate(divide="ignore"), pytest.raises(FloatingPointError) as divided:
            1.0 / Tensor([0.0])
    x.array[0] = 100
    z.sum().backward()
    with pytest.raises(RuntimeError) as written:
        y.sum().backward()
    quotes("02", "input 0 of 'multiply', of shape (2,), was written")
    assert str(written.value).startswith("input 0 of 'multiply', of shape (2,), was written")
    quotes("02", "'divide' made NaN or infinity of finite inputs")
    assert str(divided.value).startswith("'divide' made NaN or infinity of finite inputs")


def test_02_sums_that_stop():
    assert np.float32(2**24) + np.float32(1) == 2**24 == 16_777_216
    tenths = np.full((262_144, 2), 0.1, np.float32)
    one_by_one = np.cumsum(tenths[:, 0], dtype=np.float32)[-1] / 262_144
    assert f"{one_by_one:.5f}" == "0.09975"
    quotes("02", "262,144 times 0.1", "0.09975", "16,777,216")
    assert np.abs(ops.mean(Tensor(tenths), axis=0).array - 0.1).max() < 1e-7


def test_02_the_rest_of_what_goes_wrong():

    w, seen = Tensor([1.0], requires_grad=True), []
    for _ in range(3):
        (w * 2).sum().backward()
        seen.append(w.grad.item())
    assert seen == [2, 4, 6]

    x = y = Tensor(1.0, requires_grad=True)
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad == 2.0**60


def test_02_the_obvious_recursion():
    def calls(depth):
        return 1 + (calls(depth - 1) * 2 if depth else 0)

    quotes("02", f"{calls(20):,} calls", f"{2**20:,} paths")


# ---- 03 ------------------------------------------------------------------------------------------

COUNTS = {b"low": 5, b"lower": 2, b"newest": 6, b"widest": 3}


def test_03_the_rounds_by_hand():
    words = {tuple(bytes([byte]) for byte in word): count for word, count in COUNTS.items()}
    merges = list(learn_merges(COUNTS))
    assert len(merges) == 12
    quotes("03", "After twelve merges")
    for number, pair in enumerate(merges[:7], 1):
        counts = count_pairs(words)
        best = f"({','.join(t.decode() for t in pair)}) {counts[pair]}"
        (row,) = re.findall(rf"\| {number} \| ([^|]*) \| `(\w+)` \| ([^|]*) \|", text("03"))
        assert f"**{best}**" in row[0]
        for left, right, count in re.findall(r"\((\w+),(\w+)\) (\d+)", row[0]):
            assert counts[left.encode(), right.encode()] == int(count)
        words = {merge(word, pair): count for word, count in words.items()}
        assert row[1].encode() == pair[0] + pair[1]
        assert row[2] == " · ".join(" ".join(t.decode() for t in word) for word in words)


def test_03_encoding_and_ties():
    tokenizer = Tokenizer.from_merges(learn_merges(COUNTS))
    for word, cut in (("lowest", "low|est"), ("slow", "s|low"), ("newer", "ne|w|e|r")):
        assert str(show_tokens(tokenizer, word)) == cut
        quotes("03", f"`{cut}`")
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"nd": 256, b"un": 257, b"do": 258}
    assert segment(b"undo", ranks) == [b"u", b"nd", b"o"]
    three = Tokenizer.from_merges(islice(learn_merges({b"aaabdaaabac": 1}), 3))
    assert [a + b for a, b in three.merges()] == [b"aa", b"aaa", b"aaab"]
    quotes("03", "`" + " ".join(map(str, three.encode("aaabdaaabac"))) + "`")
    assert next(learn_merges({b"ab": 3, b"ba": 3})) == (b"b", b"a")


def test_03_words_characters_and_bytes():
    few = WordVocabulary.train("the cat saw the dog, the dog ran", min_count=2)
    assert dict(zip(few.tokens, few.counts)) == {"[UNK]": 3, "the": 3, "dog": 2}
    assert few.unknown_rate("the cat saw the dog, the dog ran") == 0.375
    quotes("03", "`[UNK]` 3, *the* 3, *dog* 2", "37.5 %")
    learned = WordVocabulary.train("we learn: a tasty transformer learns", min_count=1)
    lost = learned.decode(learned.encode("We laern taaaasty: Transformerify!"))
    quotes("03", '"We laern taaaasty: Transformerify!"', f"'{lost}'")
    characters = Characters("learn a tasty transformer")
    ids = characters.encode("laern!")
    quotes("03", f"{characters.vocab_size - 1} different ones", str((ids, characters.decode(ids))))
    quotes("03", f"`{Bytes().encode('é你!')}`")


def test_03_bags_of_words():
    documents = ["the cat sat", "the dog saw the cat", "the dog, the dog, a dog!"]
    words = WordVocabulary.train(documents, min_count=2)
    assert words.tokens[1:] == ["the", "dog", "cat"]
    ids = [words.encode(document) for document in documents]
    counts = count_vectors(ids, words.vocab_size, unknown=0)
    idf = inverse_document_frequency(counts)
    quotes("03", rf"= {idf[2]:.3f}$", f"its length, {np.hypot(2, 3 * idf[2]):.2f}")
    tables = presence_vectors(counts), counts, tf_idf(counts, idf)
    for document, *rows in zip(documents, *tables):
        cells = [" ".join(f"{x:.3f}" if x % 1 else f"{x:.0f}" for x in row[1:]) for row in rows]
        quotes("03", f"| {document} | " + " | ".join(cells) + " |")


def test_03_how_vocabularies_grow():
    table = json.loads((CLAIMS / "word-growth.json").read_text("utf-8"))["table"]["words"]
    quotes("03", f"b = {table[word_growth.EXPONENT]['mean']:.2f}$")
    quotes("03", f"{table[word_growth.NEW]['mean']:.1f} of every 1,000")
    assert table[word_growth.LEFT]["mean"] == pytest.approx(2 / 3, abs=0.02)
    quotes("03", "two thirds of the unknown words are still unknown")


def test_03_verbs_that_were_never_met():
    settings, generator = agglutination.CLAIM.scales["small"], np.random.default_rng(0)
    stems = agglutination.make_stems(settings["stems"], generator)
    verbs = [agglutination.conjugate(s, agglutination.BEFORE, agglutination.AFTER) for s in stems]
    read, unseen = agglutination.text_without_some(verbs, settings["words"], generator)
    cut = agglutination.tokens_of(Tokenizer.train(" ".join(read), 1024))
    (line,) = re.findall(r"una\|[a-z |]+", text("03"))
    shown = line.split()
    assert len(shown) == 4
    unseen_forms = {verb.form for forms in unseen for verb in forms}
    for pieces in shown:
        form = pieces.replace("|", "")
        assert form in unseen_forms - set(read)
        assert "|".join(cut(" " + form)) == " " + pieces


def test_03_patterns_and_edges():
    line = "I'll pay $1234 for the   dogs' don't"
    shown = "  ".join(piece.replace(" ", "·") for piece in GPT2.split(line))
    quotes("03", " ".join(shown.split()))
    assert CL100K.split(line)[3:6] == [" $", "123", "4"]
    small = Tokenizer.train(["hello hello"], 300, special_tokens=["<|endoftext|>"])
    ids = small.encode(b"caf\xe9 \xff")
    quotes("03", " ".join(map(str, ids)))
    assert small.decode_bytes(ids) == b"caf\xe9 \xff"
    assert small.decode(ids) == "caf� �"
    with pytest.raises(ValueError, match="special token") as raised:
        small.encode("a<|endoftext|>b")
    quotes("03", str(raised.value))
    assert len(small.encode("🙂🙂")) == 8
    assert small.decode(small.encode("🙂🙂")[:3]) == "�"
    assert [bytes.fromhex(h).decode() for h in ("C3 A9", "65 CC 81", "E4 BD A0")] == [
        "é",
        "e\u0301",
        "你",
    ]
    for nats, length, bits in ((4.0, 3.0, 1.92), (3.0, 3.0, 1.44), (4.0, 4.2, 1.37)):
        assert nats / np.log(2) / length == pytest.approx(bits, abs=0.005)
        quotes("03", f"{bits}")


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the corpus is that of Python 3.11")
def test_03_what_was_measured_on_the_english_inside_python():
    """Within 2 % of what is printed: docstrings change a little with every release of Python."""
    module = figures("03")
    train, held_out = module["texts"]()
    words, new = Counter(train.split()), Counter(held_out.split())

    def unknown(at_least):
        """Per cent of the held-out words that occur less often in the training text."""
        return 100 * sum(n for w, n in new.items() if words[w] < at_least) / new.total()

    tokenizer = module["tokenizer"]()
    lengths = [len(tokenizer.encode(module["LANGUAGES"][name])) for name in module["LANGUAGES"]]
    measured = {
        "282,193": words.total(),
        "33,866": len(words),
        "20,445": sum(n == 1 for n in words.values()),
        "8.8 %": unknown(1),
        "17.4 %": unknown(5),
        "3.84 bytes": module["bytes_per_token"](8192, held_out),
        "68 tokens in English": lengths[0],
        "145 in German": lengths[1],
        "261 in Chinese": lengths[2],
        "93 bytes": max(map(len, tokenizer.ranks)),
    }
    for passage, value in measured.items():
        quotes("03", passage)
        printed = float(re.match(r"[\d.,]+", passage)[0].replace(",", ""))
        assert value == pytest.approx(printed, rel=0.02), passage
    for word, pieces in ((" eat", 2), (" eats", 3), (" eaten", 3), (" ate", 2)):
        cut = str(show_tokens(tokenizer, word))
        quotes("03", f"`{cut}`")
        assert cut.count("|") + 1 == pieces
    assert len(module["tokenizer"](2048).encode(" documentation")) == 1
    assert len(tokenizer.encode(" unbelievable")) == 6


def test_03_each_round_shows_the_leading_pairs_in_their_order():
    lecture = (LECTURES / "03_subwords.md").read_text("utf-8")
    rounds = re.findall(r"^\| (\d) \| (.*?) \| `(\w+)` \| (.*?) \|$", lecture, re.MULTILINE)
    words = {tuple("low"): 5, tuple("lower"): 2, tuple("newest"): 6, tuple("widest"): 3}
    assert [int(number) for number, *_ in rounds] == list(range(1, 8))
    for _, leading, merged, after in rounds:
        pairs = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        shown = re.findall(r"\((\w+),(\w+)\) (\d+)", leading)
        counts = [int(count) for *_, count in shown]
        assert counts == sorted(pairs.values(), reverse=True)[: len(counts)]
        assert all(pairs[left, right] == int(count) for left, right, count in shown)
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        assert "".join(best) == merged
        assert re.search(rf"\*\*\({best[0]},{best[1]}\) {pairs[best]}\*\*", leading)
        words = {_joined(word, best): count for word, count in words.items()}
        assert [" ".join(word) for word in words] == after.replace("\xa0", " ").split(" · ")


def _joined(word, pair):
    parts = list(word)
    for i in range(len(parts) - 1, 0, -1):
        if (parts[i - 1], parts[i]) == pair:
            parts[i - 1 : i + 1] = ["".join(pair)]
    return tuple(parts)


def test_02_the_walk_in_eight_lines_finds_the_gradients_of_backward():
    lecture = (LECTURES / "02_autograd.md").read_text("utf-8")
    code = re.search(r"```python\n(def plain_walk.*?)```", lecture, re.DOTALL)[1]
    assert len(code.splitlines()) == 8
    names = {"_parents_first": nodes._parents_first}
    exec(compile(code, "lecture 02", "exec"), names)
    generator = np.random.default_rng(0)

    def loss():
        y = a * b + a
        return (y * ops.exp(y) + (b + b)).sum()

    a, b = (Tensor(generator.normal(size=3), requires_grad=True) for _ in range(2))
    found = dict(names["plain_walk"](loss().node, np.ones(())))
    loss().backward()
    for leaf in (a, b):
        np.testing.assert_allclose(found[leaf], leaf.grad, rtol=1e-12)


def test_02_an_input_without_gradient_stands_as_none():
    a, data = Tensor(np.ones(3), requires_grad=True), Tensor(np.ones(3))
    first, second = (data * a).node.parents
    assert first is None
    assert second is a
    quotes("02", "is `None`, and its rule is dropped")

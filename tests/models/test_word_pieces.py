"""A word's vector from its pieces: against loops, by hand, and through a GPT."""

import numpy as np
import pytest

from minissl.autograd import Tensor, gradcheck
from minissl.models.gpt import GPT, GPTConfig
from minissl.models.word_pieces import (
    byte_spans,
    pieces_by_marks,
    pieces_of_words,
    represent_words,
    word_vectors,
    words_between_spaces,
)
from minissl.text import Tokenizer, WordPiece

TEXTS = [
    "unable undo",
    "  Don't  stop—it's caf\u00e9 \U0001f642\U0001f642!\n\nne\u0301e\u3000\u4f60\u597d ",
    "a",
    "",
    " \n",
]
TOKENIZER = Tokenizer.train(TEXTS * 3, 290, special_tokens=["|"])


def by_loop(hidden, pieces, how):
    rows = []
    for piece in pieces:
        total = np.zeros(hidden.shape[1])
        for place in piece:
            total += hidden[place]
        rows.append({"mean": total / len(piece), "first": hidden[piece[0]],
                     "last": hidden[piece[-1]]}[how])  # fmt: skip
    return np.array(rows).reshape(len(pieces), hidden.shape[1])


@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_of_a_word_hold_its_bytes(text):
    ids = TOKENIZER.encode(text)
    spans = byte_spans(TOKENIZER, ids)
    data = text.encode()
    assert [data[a:b] for a, b in spans] == [TOKENIZER.token_bytes(number) for number in ids]
    words, places = words_between_spaces(text)
    assert words == text.split()
    assert [data[a:b].decode() for a, b in places] == words
    for word, (begin, end), piece in zip(words, places, pieces_of_words(spans, places)):
        expected = [
            i for i, (a, b) in enumerate(spans) if set(range(a, b)) & set(range(begin, end))
        ]
        assert piece.tolist() == expected
        assert word in TOKENIZER.decode([ids[i] for i in piece])


def test_a_token_may_have_parts_of_two_words():
    found = pieces_of_words([[0, 2], [2, 5], [5, 6]], [[0, 4], [4, 5], [5, 6]])
    assert [piece.tolist() for piece in found] == [[0, 1], [1], [2]]
    with pytest.raises(ValueError, match="word 1, from 6 to 7, has no token"):
        pieces_of_words([[0, 2], [2, 6]], [[0, 1], [6, 7]])


def test_the_marks_of_wordpiece_say_where_words_begin():
    ours = WordPiece(["[UNK]", "una", "##ffa", "##ble", ",", "a"])
    found = pieces_by_marks(ours, ours.encode("Unaffable, xyz a"))
    assert [piece.tolist() for piece in found] == [[0, 1, 2], [3], [4], [5]]
    assert [piece.tolist() for piece in pieces_by_marks(ours, [2, 3, 1])] == [[0, 1], [2]]
    assert pieces_by_marks(ours, []) == []


@pytest.mark.parametrize("how", ["mean", "first", "last"])
def test_vectors_are_those_of_a_loop_with_their_gradient(how):
    generator = np.random.default_rng(0)
    hidden = generator.normal(size=(9, 4))
    pieces = [[0], [1, 2, 3], [2, 4], [8, 5]]
    found = word_vectors(Tensor(hidden), pieces, how)
    np.testing.assert_allclose(found.numpy(), by_loop(hidden, pieces, how), rtol=1e-14)
    gradcheck(lambda x: (word_vectors(x, pieces, how) ** 3).sum(), [hidden])
    assert word_vectors(Tensor(hidden), [], how).shape == (0, 4)
    assert word_vectors(Tensor(hidden.astype(np.float32)), pieces, how).numpy().dtype == np.float32


def test_what_is_not_finite_stays_with_its_word():
    hidden = np.ones((4, 2))
    hidden[2] = np.nan
    found = word_vectors(Tensor(hidden), [[0, 1], [1, 2], [3]]).numpy()
    np.testing.assert_array_equal(np.isnan(found), [[False] * 2, [True] * 2, [False] * 2])


def test_words_through_a_gpt():
    config = GPTConfig(
        vocab_size=TOKENIZER.vocab_size, context_length=70, num_layers=1, width=8, num_heads=2,
        init_std=0.5, dropout=0.4,
    )  # fmt: skip
    model, start = GPT(config, generator=np.random.default_rng(1)), TOKENIZER.special_tokens["|"]
    model.eval()
    for how in ("mean", "last"):
        for text in TEXTS:
            words, vectors = represent_words(model, TOKENIZER, text, start=start, how=how)
            ids = TOKENIZER.encode(text)
            hidden = model.hidden(np.array([[start, *ids]])).numpy()[0, 1:]
            pieces = pieces_of_words(byte_spans(TOKENIZER, ids), words_between_spaces(text)[1])
            assert words == text.split()
            np.testing.assert_allclose(vectors, by_loop(hidden, pieces, how), atol=1e-6)
    long = "a b " * 40
    with pytest.raises(ValueError, match=r"tokens, and the context .* room for 69 after"):
        represent_words(model, TOKENIZER, long, start=start)


def test_what_is_no_piece_is_refused():
    hidden = Tensor(np.zeros((3, 2)))
    for wrong in ([], [-1], [0, 3], [0.5], [True, False], [[0, 1]]):
        with pytest.raises(ValueError, match=r"word 1 has the pieces .* some of 0 to 2"):
            word_vectors(hidden, [[0], wrong])
    torch = pytest.importorskip("torch")
    on_torch = word_vectors(Tensor(torch.eye(3)), [[0, 2], [1]])
    np.testing.assert_array_equal(on_torch.numpy(), [[0.5, 0, 0.5], [0, 1, 0]])
    with pytest.raises(ValueError, match="how='max': expected one of mean, first, last"):
        word_vectors(hidden, [[0]], "max")

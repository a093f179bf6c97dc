"""Texts as pieces, sentences and documents; the tokenizer of a run, of its own or published."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from minissl.data import Kept
from minissl.data.passages import (
    SPECIAL,
    PassageOptions,
    Passages,
    PassageTexts,
    read_vocabulary,
    to_stream,
    word_beginnings,
)
from minissl.data.texts import Texts
from minissl.pretrain import load_method
from minissl.pretrain.run import open_run, pretrain
from minissl.text import Tokenizer
from minissl.text.documents import Document, split_documents
from minissl.text.wordpiece import SPECIAL_TOKENS, WordPiece
from tests.pretrain.toy import toy_settings

WORDS = WordPiece([*SPECIAL_TOKENS, "a", "b", "##b", "c", "."])
DOCUMENTS = [
    Document("one", "s", "a b. c"),
    Document("empty", "s", " \n"),
    Document("two", "s", "ab. b. a b c."),
]
TEXT = "the cat sat on the mat. a dog ran. " * 20


def test_a_stream_knows_its_sentences_and_documents():
    stream = to_stream(DOCUMENTS, WORDS)
    a, b, inside, c, dot = (WORDS.ids[token] for token in ("a", "b", "##b", "c", "."))
    assert stream.pieces.tolist() == [a, b, dot, c, a, inside, dot, b, dot, a, b, c, dot]
    assert stream.sentences.tolist() == [0, 3, 4, 7, 9, 13]
    assert stream.documents.tolist() == [0, 2, 5]
    assert stream.document_of([0, 1, 2, 4]).tolist() == [0, 0, 1, 1]
    assert len(to_stream(DOCUMENTS[1:2], WORDS)) == 0


def test_where_words_begin():
    begins = word_beginnings(WORDS)
    assert [token for token, first in zip(WORDS.tokens, begins) if not first] == ["##b"]
    bpe = Tokenizer.train([TEXT], 300, special_tokens=SPECIAL)
    begins = word_beginnings(bpe)
    firsts = {bpe.token_bytes(i) for i in np.flatnonzero(begins)}
    assert {b" the", b" ", b".", b"\n", *(name.encode() for name in SPECIAL)} <= firsts
    assert not {b"a", b"at", b"7", b"\xc3"} & firsts


@pytest.mark.parametrize("pieces", ["wordpiece", "bpe"])
def test_examples_stand_between_special_tokens(pieces):
    settings = PassageOptions(vocab_size=300, pieces=pieces)
    data = PassageTexts(Texts.toy().documents).prepare(Kept(), settings)
    tokens = data.tokens("a dog [MASK]")
    special = {id for name, id in data.tokenizer.special_tokens.items() if name != "[UNK]"}
    assert tokens[0] == data.special("[CLS]")
    assert tokens[-1] == data.special("[SEP]")
    assert not set(tokens[1:-1]) & special, "a text masked unasked"
    assert data.text_of(data.tokens("a dog ran")).split() == ["a", "dog", "ran"]
    assert data.is_blank(data.tokens(""))
    assert not data.is_blank(tokens)
    again = Passages.reopen(data.kept, settings)
    assert again.tokens("a dog") == data.tokens("a dog")
    assert len(again.stream) == len(again.held_out) == 0


def test_training_text_is_apart_from_what_is_held_out():
    """Each document has a character of its own, which the tokenizer knows from training alone."""
    documents = [Document(str(i), "s", f"{chr(0x4E00 + i)} b. [MASK] c.") for i in range(300)]
    train, held_out = split_documents(documents)
    settings = PassageOptions(vocab_size=2000)
    data = PassageTexts(documents).prepare(Kept(), settings)
    known = {document.text[0] for document in documents} & data.tokenizer.ids.keys()
    assert known == {document.text[0] for document in train}
    firsts = [data.tokenizer.ids[document.text[0]] for document in train]
    starts = data.stream.sentences[data.stream.documents[:-1]]
    assert data.stream.pieces[starts].tolist() == firsts
    assert data.stream.documents.tolist() == list(range(0, 2 * len(train) + 1, 2))
    assert data.held_out.documents.tolist() == list(range(0, 2 * len(held_out) + 1, 2))
    assert data.special("[MASK]") not in data.stream.pieces, "a text masked unasked"
    assert f"in {2 * len(train)} sentences" in data.describe()
    assert f"{len(data.stream.pieces):,} pieces" in data.describe()
    unseen = data.unseen(Texts(documents[:3]))
    assert (len(unseen.stream), len(unseen.held_out.documents)) == (0, 4)
    others = [document._replace(text="other " + document.text) for document in documents]
    again = PassageTexts(others).prepare(data.kept, settings)  # the tokenizer is not learned anew
    assert again.tokenizer.tokens == data.tokenizer.tokens
    with pytest.raises(ValueError, match=r"vocab\.txt has \d+ tokens, more than vocab_size 100"):
        Passages.reopen(data.kept, PassageOptions(vocab_size=100))
    with pytest.raises(ValueError, match=r"vocab\.txt is missing"):
        Passages.reopen(Kept(), settings)


@pytest.mark.parametrize("lowercase", [True, False])
def test_case_is_kept_where_it_is_asked_for(tmp_path, lowercase):
    documents = [Document(str(i), "s", "Ab aB.") for i in range(300)]
    settings = PassageOptions(vocab_size=100, lowercase=lowercase)
    data = PassageTexts(documents).prepare(Kept(), settings)
    (tmp_path / "vocab.txt").write_bytes(data.kept["vocab.txt"])
    published = replace(settings, vocab=str(tmp_path / "vocab.txt"))
    for one in (
        data,
        Passages.reopen(data.kept, settings),
        SimpleNamespace(tokens=read_vocabulary(published).encode),
    ):
        assert (one.tokens("Ab") == one.tokens("ab")) == lowercase
        assert data.tokenizer.ids["[UNK]"] not in one.tokens("Ab")


def test_a_character_of_which_a_byte_is_missing_is_left_out():
    settings = PassageOptions(vocab_size=261, pieces="bpe")
    data = PassageTexts(Texts.toy().documents).prepare(Kept(), settings)
    assert data.text_of(data.tokens("a é")[:-2]) == "a "


def test_a_published_vocabulary_is_copied_and_compared(tmp_path):
    characters = sorted({c for d in Texts.toy().documents for c in d.text if c.strip()})
    tokens = [*SPECIAL_TOKENS, *characters, *("##" + c for c in characters), "the", "cat"]
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    other = tmp_path / "other.txt"
    other.write_text(
        "".join(f"{token}\n" for token in [*tokens[:-2], "cat", "the"]), encoding="utf-8"
    )
    kind = load_method("bert")
    settings = toy_settings("bert", vocab=str(tmp_path / "vocab.txt"))
    data = kind.Data.toy(settings)
    run = tmp_path / "run"
    made = pretrain(kind, data, settings, run, progress=False)
    assert made.data.tokenizer.tokens == tokens
    assert open_run(run).settings.vocab_size == len(tokens)
    (tmp_path / "vocab.txt").unlink()
    assert open_run(run).data.tokenizer.tokens == tokens
    with pytest.raises(ValueError, match=r"other\.txt is not the vocabulary that .*vocab\.txt"):
        pretrain(kind, data, replace(settings, vocab=str(other)), run, progress=False)
    with pytest.raises(FileNotFoundError, match=r"vocab\.txt"):
        pretrain(kind, data, settings, tmp_path / "new", progress=False)


@pytest.mark.parametrize("missing", SPECIAL)
def test_a_vocabulary_without_a_special_token_is_refused_by_name(tmp_path, missing):
    file = tmp_path / "vocab.txt"
    file.write_text(
        "".join(f"{t}\n" for t in [*SPECIAL_TOKENS, "a"] if t != missing), encoding="utf-8"
    )
    with pytest.raises(ValueError, match=rf"vocab\.txt has no \[{missing[1:-1]}\]"):
        PassageOptions(vocab=str(file)).settled(None)


def test_a_vocabulary_goes_with_no_bpe():
    with pytest.raises(ValueError, match="vocab must be empty with pieces=bpe"):
        PassageOptions(vocab="vocab.txt", pieces="bpe")


def test_texts_of_which_no_pair_can_be_made_are_refused_in_words():
    lone = [Document(str(i), "s", "no full stop here at all " * 3) for i in range(250)]
    kind, settings = load_method("bert"), toy_settings("bert")
    with pytest.raises(ValueError, match="two documents, one of them with two sentences"):
        pretrain(kind, PassageTexts(lone), settings, progress=False)
    pairs = [Document(str(i), "s", f"one {i}. two {i}.") for i in range(250)]
    with pytest.raises(ValueError, match="a document with three sentences"):
        pretrain(kind, PassageTexts(pairs), replace(settings, partners="same"), progress=False)

"""Texts made ready: what is held out is in no other stream, and teaches the tokenizer nothing."""

import sys

import numpy as np
import pytest

from minissl.data import Kept
from minissl.data.texts import TOKENIZER, TextOptions, Texts
from minissl.pretrain.language.gpt import GPTPretraining
from minissl.text import Tokenizer
from minissl.text.documents import SEPARATOR, Document, split_documents
from tests.pretrain.toy import toy_method, toy_settings

SETTINGS = TextOptions(vocab_size=280)


@pytest.fixture
def raw():
    return Texts.toy()


def text_of(stream, tokenizer):
    """The documents of a stream, joined as ``Streams`` has them."""
    return tokenizer.decode(stream[1:-1]).replace(SEPARATOR, "\n").encode()


def test_held_out_documents_are_neither_trained_on_nor_read_by_the_tokenizer(raw, monkeypatch):
    usual, read = Tokenizer.train, []

    def train(texts, *arguments, **options):
        read.extend(texts)
        return usual(texts, *arguments, **options)

    monkeypatch.setattr(Tokenizer, "train", train)
    streams = raw.prepare(Kept(), SETTINGS)
    parts = split_documents(raw.documents)
    assert read == [document.text for document in parts[0]]
    train_text, held_out_text = ("\n".join(d.text for d in part).encode() for part in parts)
    assert (streams.text, streams.held_out_text) == (train_text, held_out_text)
    assert text_of(streams.stream, streams.tokenizer) == train_text
    assert text_of(streams.held_out_stream, streams.tokenizer) == held_out_text


def test_an_example_begins_as_the_documents_of_the_pretraining_do(raw):
    streams = raw.prepare(Kept(), SETTINGS)
    examples = streams.examples(Texts([Document("a", "a", f"the cat {SEPARATOR}")]))
    first, *rest = examples.inputs[0]
    assert first == streams.separator
    assert first not in rest  # in a text it is text
    assert streams.tokenizer.decode(rest) == f"the cat {SEPARATOR}"


def test_a_tokenizer_that_is_larger_than_the_run_is_refused(raw):
    kept = raw.prepare(Kept(), SETTINGS).kept
    size = Texts.prepare(raw, kept, SETTINGS).tokenizer.vocab_size
    assert raw.prepare(kept, TextOptions(vocab_size=size)).kept[TOKENIZER] == kept[TOKENIZER]
    with pytest.raises(ValueError, match="give the vocab_size that it was trained with"):
        raw.prepare(kept, TextOptions(vocab_size=size - 1))


def test_the_method_is_built_on_both_streams(raw):
    settings = toy_settings("gpt", batch_size=5)
    data = raw.prepare(Kept(), settings)
    method = GPTPretraining.build(settings, data)
    assert method.batch(np.random.default_rng(0))[0].shape == (5, settings.context_length)
    assert method.stream is data.stream
    assert method.held_out is data.held_out_stream
    assert method.held_out_bytes == len(data.held_out_text)


def test_a_sample_begins_like_a_document_and_ends_with_it(monkeypatch):
    method, written, seen = toy_method("gpt"), [], []
    separator = method.tokenizer.special_tokens[SEPARATOR]
    coming = iter([*b"xy", separator, *b"z"])

    def logits(model, tokens, *arguments, **options):
        seen.append(list(tokens))
        return np.eye(method.tokenizer.vocab_size)[next(coming)]

    monkeypatch.setattr(sys.modules["minissl.models.generate"], "next_token_logits", logits)
    method.sample(b"a", 9, temperature=0, write=written.append)
    token = method.tokenizer.encode("a")
    assert seen[0] == [separator, *token]
    assert len(seen) == 3
    assert written == [method.tokenizer.token_bytes(i) for i in b"xy"]

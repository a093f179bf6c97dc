"""From documents to a GPT: what the training of ``minissl pretrain gpt`` looks at."""

import numpy as np
import pytest

from minissl.cli import main
from minissl.data.texts import Texts
from minissl.losses.language_modeling import IGNORE
from minissl.models.generate import next_token_logits, next_token_probabilities
from minissl.pretrain.language import gpt
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings, respelled
from minissl.pretrain.run import open_run, pretrain
from minissl.text import Tokenizer
from minissl.text.documents import SEPARATOR, Document
from tests.pretrain.language.test_gpt import new_model

SETTINGS = GPTSettings(
    vocab_size=257, num_layers=1, width=16, num_heads=2, context_length=16, batch_size=8, steps=200,
    learning_rate=1e-2, evaluations=1,
)  # fmt: skip


def test_the_first_token_of_a_document_is_learned(tmp_path):
    """Q begins every document and stands nowhere else: only a target after a separator teaches it.

    The claim ``first-token`` measures what leaving these targets out costs.
    """
    documents = [Document(f"d{i}", f"s{i}", "Q" + "ab" * (5 + i % 4)) for i in range(60)]
    data = pretrain(GPTPretraining, Texts(documents), SETTINGS, tmp_path, progress=False).data
    assert (data.stream[1:][data.stream[:-1] == 256] == ord("Q")).all()
    opened = open_run(tmp_path)
    logits = next_token_logits(opened.method.model, [opened.data.separator])
    probabilities, tokenizer = next_token_probabilities(logits), opened.data.tokenizer
    assert tokenizer.decode([int(np.argmax(probabilities))]) == "Q"
    assert probabilities.max() > 0.8


SMALL = ["--vocab-size", 300, "--num-layers", 1, "--width", 16, "--num-heads", 2, "--steps", 4,
         "--context-length", 24, "--evaluations", 1]  # fmt: skip


def targets_of(folder, options, monkeypatch):
    """What the loss was asked to predict in a run from the command line, beside its inputs."""
    seen, asked = [], []
    loss, batch = gpt.next_token_loss, GPTPretraining.batch

    def watched_loss(logits, targets, **rest):
        if rest.get("reduction") != "sum":  # not of the evaluation
            asked.append(np.asarray(targets))
        return loss(logits, targets, **rest)

    def watched_batch(self, generator):
        seen.append(batch(self, generator))
        return seen[-1]

    monkeypatch.setattr(gpt, "next_token_loss", watched_loss)
    monkeypatch.setattr(GPTPretraining, "batch", watched_batch)
    texts = folder / "texts"
    texts.mkdir()
    for number in range(60):
        words = " ".join(f"{number} likes {number % 7}." for _ in range(4))
        (texts / f"{number}.txt").write_text(words, encoding="utf-8")
    command = ["pretrain", "gpt", texts, "--run", folder / "run", *SMALL, *options]
    assert main([str(word) for word in command]) == 0
    monkeypatch.undo()
    assert len(seen) == len(asked) == 4
    return np.concatenate([inputs for inputs, _ in seen]), np.concatenate(asked)


@pytest.mark.parametrize("crosses", [True, False])
def test_whether_targets_cross_documents_is_a_setting(crosses, tmp_path, monkeypatch):
    options = [] if crosses else ["--no-cross-documents"]
    inputs, targets = targets_of(tmp_path, options, monkeypatch)
    opened = open_run(tmp_path / "run")
    after_separator = inputs == opened.data.separator
    assert 10 < after_separator.sum() < inputs.size / 4
    np.testing.assert_array_equal(targets == IGNORE, after_separator & (not crosses))
    assert (targets == opened.data.separator).any()  # that a document ends is predicted always
    followed = ~after_separator[:, :-1]
    np.testing.assert_array_equal(targets[:, :-1][followed], inputs[:, 1:][followed])
    assert opened.settings.cross_documents is crosses


def test_bpe_dropout_is_a_setting(tmp_path, monkeypatch):
    inputs, targets = targets_of(tmp_path, ["--bpe-dropout", 0.5], monkeypatch)
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    tokenizer = open_run(tmp_path / "run").data.tokenizer
    texts = [tokenizer.decode_bytes(row) for row in inputs]
    usual = [tokenizer.encode(text, allow_special="all") for text in texts]
    assert sum(map(len, usual)) < 0.8 * inputs.size  # it was cut into more
    likes = {tuple(row[i : i + 9]) for row in inputs.tolist() for i in range(15)}
    spellings = {tokens for tokens in likes if tokenizer.decode_bytes(tokens).startswith(b" likes")}
    assert len(spellings) > 4


def test_a_window_is_respelled_as_far_as_it_goes():
    tokenizer = Tokenizer.train("undo unto undoes " * 9, 280, special_tokens=[SEPARATOR])
    separator = tokenizer.special_tokens[SEPARATOR]
    text = [*tokenizer.encode("undoes undo unto"), separator, *tokenizer.encode("undo \U0001f642")]
    window = np.array(text)[1:-1]  # from inside a word to inside a character
    whole = tokenizer.decode_bytes(window)
    found = set()
    for seed in range(50):
        ids = respelled(tokenizer, 0.4, np.random.default_rng(seed), window)
        again = respelled(tokenizer, 0.4, np.random.default_rng(seed), window)
        np.testing.assert_array_equal(ids, again)
        assert ids.shape == window.shape
        assert ids.dtype == window.dtype
        assert whole.startswith(tokenizer.decode_bytes(ids))
        found.add(tuple(ids))
    assert len(found) > 20
    with pytest.raises(ValueError, match="needs the tokenizer"):
        GPTPretraining(new_model(), window, bpe_dropout=0.1)

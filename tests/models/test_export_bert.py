"""An encoder with its WordPiece as a folder: the same ids and outputs by transformers."""

import json

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining, AutoTokenizer

from minissl.models import export_bert as exporting
from minissl.models.encoder import EncoderConfig, MaskedEncoder
from minissl.models.export_bert import export_bert
from minissl.models.published_bert import load_bert
from minissl.text import Tokenizer
from minissl.text.wordpiece import SPECIAL_TOKENS, WordPiece

FILES = ["README.md", "config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"]
TRAINED = "The cat sat on the naïve mat, München's 12 cats don't. 北京 unaffable! " * 3
TEXTS = ["", "The cat [MASK] on the mat.", "Naïve, NAIVE; Zürich", "[CLS] a [SEP]",
         "北京 \n\t don't", "t" + "a" * 100, "t" + "a" * 99, "the [mask] e\u0301 🙂"]  # fmt: skip


@pytest.fixture(autouse=True)
def quiet():
    """Reading a folder of transformers draws bars."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def tokenizer(request):
    return WordPiece.train(TRAINED, 110, lowercase=request.param)


def build(tokenizer, segments=2, **parts):
    config = EncoderConfig(
        vocab_size=tokenizer.vocab_size, context_length=110, num_layers=2, width=12, num_heads=3,
        segments=segments, init_std=0.4,
    )  # fmt: skip
    return MaskedEncoder(config, generator=np.random.default_rng(0), **parts).eval()


def padded(tokenizer, texts):
    """What we make of texts: tokens and lengths, as a batch of transformers is padded."""
    ids = [[tokenizer.ids["[CLS]"], *tokenizer.encode(text, allow_special="all"),
            tokenizer.ids["[SEP]"]] for text in texts]  # fmt: skip
    lengths = np.array([len(row) for row in ids])
    tokens = np.full((len(ids), lengths.max()), tokenizer.ids["[PAD]"])
    for row, own in zip(tokens, ids):
        row[: len(own)] = own
    return tokens, lengths


def test_texts_go_the_same_way(tmp_path, tokenizer):
    """From text to the logits of its tokens, and of the pair, in a padded batch."""
    model = build(tokenizer, next_sentence=True)
    export_bert(model, tokenizer, tmp_path / "out", card="A card.\n")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == FILES
    peer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert peer.model_max_length == 110
    given = peer(TEXTS, padding=True, return_tensors="pt")
    tokens, lengths = padded(tokenizer, TEXTS)
    np.testing.assert_array_equal(given.input_ids.numpy(), tokens)
    assert 90 < lengths.max() <= 110  # one word of 100 characters
    np.testing.assert_array_equal(given.attention_mask.sum(1).numpy(), lengths)
    states = model(tokens, lengths=lengths)
    for kind in (AutoModelForPreTraining, AutoModelForMaskedLM):
        theirs = kind.from_pretrained(tmp_path / "out").eval()
        with torch.no_grad():
            found = theirs(**given)
        logits = found.prediction_logits if kind is AutoModelForPreTraining else found.logits
        expected = model.word_logits(states).array
        np.testing.assert_allclose(logits.numpy(), expected, rtol=0, atol=1e-4)
        if kind is AutoModelForPreTraining:
            pair = model.follows_logits(states).array
            np.testing.assert_allclose(found.seq_relationship_logits.numpy(), pair, atol=1e-4)
    again = load_bert(tmp_path / "out")
    np.testing.assert_array_equal(again(tokens, lengths=lengths).array, states.array)
    read = WordPiece.read(tmp_path / "out" / "vocab.txt", lowercase=tokenizer.lowercase)
    assert read.tokens == tokenizer.tokens


def test_pairs_have_the_segments_of_the_model(tmp_path, tokenizer):
    for segments in (2, 0):
        model = build(tokenizer, segments)
        export_bert(model, tokenizer, tmp_path / str(segments), card="")
        peer = AutoTokenizer.from_pretrained(tmp_path / str(segments))
        given = peer("The cat", "sat on", return_tensors="pt")
        assert ("token_type_ids" in given) == (segments == 2)
        about = {}
        if segments:
            about["segments"] = given.token_type_ids.numpy()
            assert about["segments"].max() == 1
        theirs = AutoModelForMaskedLM.from_pretrained(tmp_path / str(segments)).eval()
        with torch.no_grad():
            expected = theirs(**given).logits.numpy()
        got = model.word_logits(model(given.input_ids.numpy(), **about)).array
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)


def test_a_folder_that_is_there_stays_and_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    tokenizer = WordPiece.train(TRAINED, 110)
    model = build(tokenizer)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a").write_text("mine", encoding="utf-8")
    for out in (tmp_path / "there", tmp_path / "there" / "a"):
        with pytest.raises(FileExistsError, match="is there already"):
            export_bert(model, tokenizer, out, card="")

    def full(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr(exporting, "save_bert", full)
    with pytest.raises(OSError, match="no space left"):
        export_bert(model, tokenizer, tmp_path / "new", card="")
    assert [file.name for file in tmp_path.iterdir()] == ["there"]


def test_what_the_files_cannot_hold_is_refused(tmp_path):
    good = WordPiece.train(TRAINED, 110)
    without = [token for token in good.tokens if token != "[MASK]"]
    model = build(good)
    for tokenizer, words in [
        (Tokenizer.train("the cat " * 9, 260), "byte-level BPE, as in RoBERTa.* pieces=wordpiece"),
        (WordPiece(without), r"lacks \[MASK\]"),
        (WordPiece(good.tokens, longest=200), "up to 200 characters.* there it is 100"),
        (WordPiece([*good.tokens, "more"]), "has 47 tokens, the model 46"),
    ]:
        with pytest.raises(ValueError, match=words):
            export_bert(model, tokenizer, tmp_path / "out", card="")
    assert not list(tmp_path.iterdir())


def test_special_tokens_are_told(tmp_path):
    tokenizer = WordPiece.train(TRAINED, 110)
    tokenizer = WordPiece([*tokenizer.tokens[5:], *SPECIAL_TOKENS])  # at the end
    export_bert(build(tokenizer), tokenizer, tmp_path / "out", card="")
    peer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert [peer.pad_token_id, peer.unk_token_id, peer.cls_token_id, peer.sep_token_id] == [
        tokenizer.ids[name] for name in SPECIAL_TOKENS[:4]
    ]
    config = json.loads((tmp_path / "out" / "config.json").read_bytes())
    assert config["pad_token_id"] == tokenizer.ids["[PAD]"]
    assert peer("cat").input_ids == [
        tokenizer.ids["[CLS]"], *tokenizer.encode("cat"), tokenizer.ids["[SEP]"]
    ]  # fmt: skip

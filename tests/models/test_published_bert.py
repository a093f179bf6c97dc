"""BERT's published layout, both ways: outputs and files against transformers."""

import json
import pickle
import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertModel,
)

from minissl.models.encoder import EncoderConfig, MaskedEncoder
from minissl.models.published_bert import (
    HEADS,
    NAMES,
    bert_layout,
    load_bert,
    save_bert,
    to_bert_layout,
)

SIZES = {"vocab_size": 17, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3}
SIZES |= {"intermediate_size": 20, "max_position_embeddings": 9, "type_vocab_size": 2}
TOKENS = np.random.default_rng(0).integers(17, size=(3, 9))
LENGTHS = np.array([9, 1, 5])
SEGMENTS = (np.arange(9) > 3) * np.ones((3, 1), int)
PARTS = {
    BertModel: {"pooler"},
    BertForPreTraining: {"words", "pooler", "follows"},
    BertForMaskedLM: {"words"},
    BertForNextSentencePrediction: {"pooler", "follows"},
}


@pytest.fixture(autouse=True)
def quiet():
    """Reading a folder of transformers draws bars."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def build(kind=BertForPreTraining, **settings):
    """With random weights: neither norms nor biases begin at a value that hides a mistake."""
    torch.manual_seed(0)
    model = kind(BertConfig(**SIZES | settings)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


@pytest.fixture
def folder(tmp_path):
    build().save_pretrained(tmp_path)
    return tmp_path


def rewrite(folder, change):
    """The weights by name, changed in place, are the file again."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def configure(folder, **settings):
    told = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(told | settings), encoding="utf-8")


def theirs(model):
    """Every output of a model of transformers, of a padded batch."""
    inside = torch.from_numpy(np.arange(9) < LENGTHS[:, None]).long()
    with torch.no_grad():
        found = model(
            torch.from_numpy(TOKENS), attention_mask=inside,
            token_type_ids=torch.from_numpy(SEGMENTS), output_hidden_states=True,
        )  # fmt: skip
    outputs = {f"states {i}": state for i, state in enumerate(found.hidden_states)}
    single = {BertForMaskedLM: "words", BertForNextSentencePrediction: "follows"}
    outputs["pooled"] = getattr(found, "pooler_output", None)
    outputs["words"] = getattr(found, "prediction_logits", None)
    outputs["follows"] = getattr(found, "seq_relationship_logits", None)
    if type(model) in single:
        outputs[single[type(model)]] = found.logits
    return {name: array.numpy() for name, array in outputs.items() if array is not None}


def ours(model, names):
    about = {"lengths": LENGTHS, "segments": SEGMENTS}
    states = model.encoder.states(TOKENS, **about)
    found = {f"states {i}": state for i, state in enumerate(states)}
    calls = {"pooled": model.pooled, "words": model.word_logits, "follows": model.follows_logits}
    found |= {name: call(states[-1]) for name, call in calls.items() if name in names}
    return {name: tensor.array for name, tensor in found.items()}


def assert_same(got, expected, tolerance=1e-5):
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        error = np.abs(got[name] - array).max() / max(1, np.abs(array).max())
        assert error < tolerance, (name, error)


# ---- both ways -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PARTS)
def test_the_outputs_are_berts_and_what_is_saved_is_the_same_file(tmp_path, kind):
    """Each head that a file has, None for what it lacks; and back."""
    model = build(kind)
    model.save_pretrained(tmp_path / "theirs")
    expected = theirs(model)
    got = load_bert(tmp_path / "theirs")
    assert not got.training
    assert {head for head in HEADS if getattr(got, head) is not None} == PARTS[kind]
    assert got.boundary is None
    assert_same(ours(got, expected), expected)
    assert all(array.dtype == np.float32 for array in got.state_dict().values())

    save_bert(got, tmp_path / "ours", padding=3)
    written, told = (tmp_path / "ours" / name for name in ("model.safetensors", "config.json"))
    before, after = load_file(tmp_path / "theirs" / "model.safetensors"), load_file(written)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], array) for name, array in before.items())
    settings = json.loads(told.read_bytes())
    assert settings["architectures"] == [kind.__name__]
    assert settings["pad_token_id"] == 3
    again, report = kind.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[part] for part in ("missing_keys", "unexpected_keys", "error_msgs"))
    assert_same(theirs(again), expected, 1e-7)


def test_an_encoder_of_ours_is_theirs(tmp_path):
    """With SpanBERT's head left out where that is asked for; without segments, one of zeros."""
    config = EncoderConfig(vocab_size=17, context_length=9, num_layers=2, width=12, num_heads=3)
    config = replace(config, segments=0, activation="relu", norm_eps=1e-3, init_std=0.4)
    model = MaskedEncoder(config, boundary=(4, 3), generator=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"head of the boundaries.*heads=\('words',\)"):
        save_bert(model, tmp_path / "not")
    assert not (tmp_path / "not").exists()
    save_bert(model, tmp_path, heads=["words"])
    peer = BertForMaskedLM.from_pretrained(tmp_path).eval()
    assert peer.config.type_vocab_size == 1
    assert not peer.bert.embeddings.token_type_embeddings.weight.any()
    inside = torch.from_numpy(np.arange(9) < LENGTHS[:, None]).long()
    with torch.no_grad():
        expected = peer(torch.from_numpy(TOKENS), attention_mask=inside).logits.numpy()
    for ones in (model, load_bert(tmp_path)):
        got = ones.word_logits(ones(TOKENS, lengths=LENGTHS)).array
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_heads_can_be_left_out(folder, tmp_path):
    model = load_bert(folder)
    save_bert(model, tmp_path / "words", heads=["words"])
    again = load_bert(tmp_path / "words")
    assert (again.pooler, again.follows) == (None, None)
    np.testing.assert_array_equal(again.words.bias.array, model.words.bias.array)
    save_bert(model, tmp_path / "none", heads=[])
    assert json.loads((tmp_path / "none" / "config.json").read_bytes())["architectures"] == [
        "BertModel"
    ]
    for heads, words in [
        (["boundary"], "has words, pooler, follows, not 'boundary'"),
        (["follows"], "follows needs pooler"),
    ]:
        with pytest.raises(ValueError, match=words):
            save_bert(model, tmp_path / "not", heads=heads)
    assert not (tmp_path / "not").exists()


def test_names_cover_the_model():
    config = EncoderConfig(vocab_size=17, context_length=9, num_layers=2, width=12, num_heads=3)
    model = MaskedEncoder(config, next_sentence=True, generator=np.random.default_rng(0))
    state, layout = model.state_dict(), bert_layout(config, HEADS)
    assert dict(layout.values()) == {n: a.shape for n, a in state.items()}
    assert len(layout) == len(state)
    assert to_bert_layout(state, config, HEADS).keys() == layout.keys()
    assert len(set(NAMES.values())) == len(NAMES)


@pytest.mark.parametrize("change", [{"norm_first": True}, {"bias": False}])
def test_what_the_layout_cannot_hold_is_not_written(tmp_path, change):
    config = EncoderConfig(
        vocab_size=3, context_length=2, num_layers=1, width=2, num_heads=1, **change
    )
    model = MaskedEncoder(config, generator=np.random.default_rng(0))
    with pytest.raises(ValueError, match="norm_first=False, bias=True"):
        save_bert(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- forms of files ------------------------------------------------------------------------------


def with_old_names(weights):
    """As in 2019: LayerNorm's gamma and beta, positions, and both copies of the output."""
    for name in list(weights):
        new = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        weights[new.replace("LayerNorm.bias", "LayerNorm.beta")] = weights.pop(name)
    vectors, bias = weights["bert.embeddings.word_embeddings.weight"], "cls.predictions.bias"
    weights["bert.embeddings.position_ids"] = torch.arange(9)[None]
    weights["cls.predictions.decoder.weight"] = vectors.clone()
    weights["cls.predictions.decoder.bias"] = weights[bias].clone()


def without_prefix(weights):
    for name in list(weights):
        weights[name.removeprefix("bert.")] = weights.pop(name)


@pytest.mark.parametrize("change", [with_old_names, without_prefix])
def test_other_names_are_understood(folder, change):
    plain = load_bert(folder).state_dict()
    rewrite(folder, change)
    for place in (folder, folder / "model.safetensors"):
        again = load_bert(place).state_dict()
        assert again.keys() == plain.keys()
        assert all(np.array_equal(again[name], array) for name, array in plain.items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", ["1GB", "4kB"])
def test_other_numbers_and_shards(tmp_path, dtype, size):
    model = build().to(dtype)
    model.save_pretrained(tmp_path, max_shard_size=size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (size == "4kB")
    got = to_bert_layout(load_bert(tmp_path).state_dict(), load_bert(tmp_path).config, HEADS)
    stored = {name.removeprefix("bert."): array for name, array in model.state_dict().items()}
    for name, array in got.items():
        np.testing.assert_array_equal(array, stored[name].float().numpy(), err_msg=name)


def test_dropout_is_for_training(folder):
    model = load_bert(folder, dropout=0.5)
    assert_same(ours(model, ["words"]), ours(load_bert(folder), ["words"]), 1e-9)
    model.train()
    with pytest.raises(ValueError, match="needs randomness"):
        model(TOKENS)


# ---- files that are not what they should be ------------------------------------------------------


def refused(folder, *words):
    """load_bert refuses, and names the file and what is wrong in one line, and takes no memory."""
    tracemalloc.start()
    with pytest.raises(ValueError, match=re.escape(str(folder))) as caught:
        load_bert(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    assert peak < 1e6
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("bert.encoder.layer.1.output.dense.bias"),
         ["lacks encoder.layer.1.output.dense.bias", "config.json asks for"]),
        (lambda w: w.pop("bert.pooler.dense.weight"), ["lacks pooler.dense.weight"]),
        (lambda w: [w.pop(f"bert.pooler.dense.{kind}") for kind in ("weight", "bias")],
         ["lacks pooler.dense.bias, pooler.dense.weight"]),
        (lambda w: w.pop("cls.predictions.bias"), ["lacks cls.predictions.bias"]),
        (lambda w: w.pop("cls.predictions.transform.dense.weight"), ["lacks cls.predictions.tra"]),
        (lambda w: w.update({"classifier.weight": torch.zeros(2, 12)}), ["classifier.weight"]),
        (lambda w: w.update({"cls.predictions.decoder.scale": torch.zeros(2)}), ["decoder.scale"]),
        (lambda w: w.update({"encoder.layer.2.output.dense.bias": torch.zeros(12)}),
         ["layer.2.output", "num_hidden_layers = 2"]),
        (lambda w: w.update({"embeddings.LayerNorm.weight": torch.zeros(12)}),
         ["'bert.embeddings.LayerNorm.weight'", "'embeddings.LayerNorm.weight'"]),
        (lambda w: w.update({"bert.embeddings.LayerNorm.gamma": torch.zeros(12)}),
         ["'bert.embeddings.LayerNorm.gamma'", "'bert.embeddings.LayerNorm.weight'"]),
        (lambda w: w.update({"bert.encoder.layer.0.intermediate.dense.weight":
            w["bert.encoder.layer.0.intermediate.dense.weight"].T.contiguous()}),
         ["encoder.layer.0.intermediate.dense.weight has shape (12, 20)", "asks for (20, 12)",
          "hidden_size = 12", "intermediate_size = 20"]),
        (lambda w: w.update({"cls.predictions.decoder.weight": torch.zeros(16, 12)}),
         ["decoder.weight has shape (16, 12)"]),
        (lambda w: w.update({"cls.predictions.decoder.weight": torch.zeros(17, 12)}),
         ["cls.predictions.decoder.weight is not bert.embeddings.word_embeddings.weight"]),
        (lambda w: w.update({"cls.predictions.decoder.bias": torch.zeros(17)}),
         ["cls.predictions.decoder.bias is not cls.predictions.bias"]),
        (lambda w: w.update({"cls.predictions.bias": torch.zeros(17, dtype=torch.int8)}),
         ["cls.predictions.bias", "I8", "quantised"]),
        (lambda w: w.update({"cls.predictions.bias": torch.full((17,), 1e300, dtype=torch.double)}),
         ["cls.predictions.bias", "infinite in float32"]),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_named(folder, change, words):
    rewrite(folder, change)
    refused(folder, "model.safetensors" if "shape" in words[0] else "", *words)


@pytest.mark.parametrize(
    ("name", "size"),
    [("num_hidden_layers", 10**12), ("num_hidden_layers", 3), ("vocab_size", 10**15),
     ("max_position_embeddings", 10**15), ("type_vocab_size", 10**15), ("hidden_size", 3 * 10**15),
     ("intermediate_size", 10**15), ("num_attention_heads", 5)],
)  # fmt: skip
def test_sizes_are_compared_before_anything_is_allocated(folder, name, size):
    configure(folder, **{name: size})
    refused(folder, "config.json", f"{size} heads" if name == "num_attention_heads" else name)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "tf_model.h5"])
def test_weights_that_can_run_code_are_not_opened(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Armed(str(folder / "harm"))))
    refused(folder, name, "can run any program", "save_pretrained")
    assert not (folder / "harm").exists()
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"neither model\.safetensors"):
        load_bert(folder)


class Armed:
    """A pickle that makes a file when it is opened."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return open, (self.place, "w")


def test_a_file_cut_short_is_refused(folder):
    whole = (folder / "model.safetensors").read_bytes()
    for length in [0, 9, 500, len(whole) // 2, len(whole) - 1]:
        (folder / "model.safetensors").write_bytes(whole[:length])
        refused(folder, "model.safetensors")

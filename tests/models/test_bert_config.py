"""BERT's configuration, flag by flag: the same outputs as transformers gives, or a refusal."""

import json
import math
import re

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, BertConfig, BertForPreTraining
from transformers.activations import ACT2FN

from minissl.models.foreign_config import ACTIVATIONS
from minissl.models.published_bert import load_bert, save_bert

SIZES = {"vocab_size": 17, "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3}
SIZES |= {"intermediate_size": 20, "max_position_embeddings": 9, "type_vocab_size": 2}
TOKENS = np.random.default_rng(0).integers(17, size=(2, 9))
VALUES = (True, False, None, 2, 0.5, "relu")


@pytest.fixture(autouse=True)
def quiet():
    """Reading a folder of transformers draws bars."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def publish(folder, settings, **written):
    """A folder with random weights for the settings, and the model; ``written``: in config.json."""
    torch.manual_seed(0)
    model = BertForPreTraining._from_config(
        BertConfig(**SIZES | settings), attn_implementation="eager"
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    folder.mkdir(exist_ok=True)
    weights = {name: array.contiguous() for name, array in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights["cls.predictions.decoder.weight"], weights["cls.predictions.decoder.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict() | settings | written
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return model.eval()


def their_outputs(model):
    with torch.no_grad():
        found = model(torch.from_numpy(TOKENS), return_dict=True)
    return [found.prediction_logits.numpy(), found.seq_relationship_logits.numpy()]


def our_outputs(folder):
    model = load_bert(folder)
    states = model(TOKENS)
    return [model.word_logits(states).array, model.follows_logits(states).array]


def difference(got, expected):
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(got, expected, strict=True))


def fields_and_values():
    for name, default in BertConfig().to_dict().items():
        yield from ((name, value) for value in VALUES if value != default)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Of every field with every odd value: "equal", "refused", or what is wrong."""
    folder = tmp_path_factory.mktemp("walk") / "bert"
    return {
        (name, repr(value)): outcome(folder, name, value) for name, value in fields_and_values()
    }


def outcome(folder, name, value):
    try:
        model = publish(folder, {name: value})
        expected = their_outputs(model)
    except Exception:  # not a value that transformers takes: it must not matter, or be refused
        expected = None
        publish(folder, {}, **{name: value})
    try:
        got = our_outputs(folder)
    except ValueError as error:
        named = str(folder) in str(error) and any(word in str(error) for word in (name, "head"))
        return "refused" if named else f"refused without the name: {error}"
    if expected is None:
        return "not taken by transformers"
    error = difference(got, expected)
    return "equal" if error < 3e-5 else f"another model: {error}"


def test_every_field_is_honoured_or_refused_by_its_name(outcomes):
    """Whatever transformers' next version adds is refused here until somebody looks at it."""
    good = {"equal", "refused", "not taken by transformers"}
    assert not {key: found for key, found in outcomes.items() if found not in good}
    for name, value, found in [
        ("hidden_act", "relu", "equal"),
        ("layer_norm_eps", 0.5, "equal"),
        ("intermediate_size", 2, "equal"),
        ("num_attention_heads", 2, "equal"),
        ("tie_word_embeddings", False, "refused"),
        ("is_decoder", True, "refused"),
        ("add_cross_attention", True, "refused"),
        ("is_encoder_decoder", True, "refused"),
    ]:
        assert outcomes[name, repr(value)] == found, name


def test_what_does_not_matter_is_not_refused(outcomes):
    for name in ("hidden_dropout_prob", "classifier_dropout", "pad_token_id", "initializer_range"):
        found = {outcome for (field, _), outcome in outcomes.items() if field == name}
        assert found <= {"equal", "not taken by transformers"}, name


@pytest.mark.parametrize("name", sorted(ACT2FN))
def test_every_activation_is_honoured_or_refused(tmp_path, name):
    """In the blocks and in the head of masked words; and written again."""
    settings = {"hidden_act": name}
    if name not in ACTIVATIONS:
        publish(tmp_path, {}, **settings)
        with pytest.raises(ValueError, match=rf"config\.json: hidden_act .* got '{name}'"):
            load_bert(tmp_path)
        return
    expected = their_outputs(publish(tmp_path, settings))
    assert difference(our_outputs(tmp_path), expected) < 3e-5
    save_bert(load_bert(tmp_path), tmp_path / "ours")
    again = BertForPreTraining.from_pretrained(tmp_path / "ours").eval()
    assert difference(their_outputs(again), expected) < 3e-5


# Files of 2018 and 2019: of the first programs, and of one with notes on its pooler.
OLD = {
    "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "hidden_size": 12, "initializer_range": 0.02, "intermediate_size": 20,
    "max_position_embeddings": 9, "num_attention_heads": 3, "num_hidden_layers": 1,
    "type_vocab_size": 2, "vocab_size": 17,
}  # fmt: skip
NOTES = {
    "architectures": ["BertForMaskedLM"], "directionality": "bidi", "gradient_checkpointing": False,
    "layer_norm_eps": 1e-12, "model_type": "bert", "pad_token_id": 0, "pooler_fc_size": 768,
    "pooler_num_attention_heads": 12, "pooler_num_fc_layers": 3, "pooler_size_per_head": 128,
    "pooler_type": "first_token_transform", "position_embedding_type": "absolute",
    "transformers_version": "4.6.0.dev0", "use_cache": True,
}  # fmt: skip


@pytest.mark.parametrize("notes", [{}, NOTES])
def test_old_files(tmp_path, notes):
    expected = their_outputs(publish(tmp_path, {}))
    (tmp_path / "config.json").write_text(json.dumps(OLD | notes), encoding="utf-8")
    assert difference(our_outputs(tmp_path), expected) < 3e-5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'"),
        ({"position_embedding_type": "rotary"}, "position_embedding_type = 'rotary'"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings must be true, got null"),
        ({"embedding_size": 6}, "embedding_size"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"auto_map": {"AutoModel": "code.py--Model"}}, "auto_map"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads"),
        *(({name: value}, name) for name in SIZES for value in (None, 1.5, "3", [3], True, -1, 0)),
        ({"num_attention_heads": 5}, "5 heads"),
        ({"hidden_act": ["gelu"]}, "hidden_act"),
        ({"layer_norm_eps": True}, "layer_norm_eps must be a number ≥ 0, got True"),
        ({"layer_norm_eps": -1e-5}, "layer_norm_eps"),
        ({"layer_norm_eps": "1e-5"}, "layer_norm_eps"),
        ({"layer_norm_eps": math.nan}, "NaN"),
    ],
)
def test_other_configurations_are_refused_by_name(tmp_path, change, words):
    publish(tmp_path, {}, **change)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "config.json"))) as caught:
        load_bert(tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "albert", "electra", "gpt2", "mpnet"])
def test_another_network_is_called_by_its_name(tmp_path, kind):
    publish(tmp_path, {})
    (tmp_path / "config.json").write_text(
        AutoConfig.for_model(kind).to_json_string(), encoding="utf-8"
    )
    with pytest.raises(ValueError, match=f"config.json asks for model_type = '{kind}', which"):
        load_bert(tmp_path)


@pytest.mark.parametrize("name", SIZES)
def test_a_size_that_is_missing_is_named(tmp_path, name):
    publish(tmp_path, {})
    settings = {key: value for key, value in OLD.items() if key != name}
    (tmp_path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"config\.json: {name} is missing"):
        load_bert(tmp_path)

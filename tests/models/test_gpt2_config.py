"""GPT-2's configuration, flag by flag: the same logits as transformers gives, or a refusal."""

import json
import math
import re
import tracemalloc

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, GPT2Config, GPT2LMHeadModel
from transformers.activations import ACT2FN

from minissl.models.foreign_config import ACTIVATIONS
from minissl.models.published import load_gpt2, save_gpt2

SIZES = {"vocab_size": 17, "n_positions": 9, "n_embd": 12, "n_layer": 2, "n_head": 3}
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
    model = GPT2LMHeadModel._from_config(
        GPT2Config(**SIZES | settings), attn_implementation="eager"
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    folder.mkdir(exist_ok=True)
    weights = {name: array.contiguous() for name, array in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict() | settings | written
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return model.eval()


def their_logits(model):
    with torch.no_grad():
        return model(torch.from_numpy(TOKENS), return_dict=True).logits.numpy()


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=3e-5 * np.abs(expected).max())


def fields_and_values():
    for name, default in GPT2Config().to_dict().items():
        yield from ((name, value) for value in VALUES if value != default)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Of every field with every odd value: "equal", "refused", or what is wrong."""
    folder = tmp_path_factory.mktemp("walk") / "gpt2"
    return {
        (name, repr(value)): outcome(folder, name, value) for name, value in fields_and_values()
    }


def outcome(folder, name, value):
    try:
        model = publish(folder, {name: value})
        expected = their_logits(model)
    except Exception:  # not a value that transformers takes: it must not matter, or be refused
        expected = None
        publish(folder, {}, **{name: value})
    try:
        got = load_gpt2(folder)(TOKENS).array
    except ValueError as error:
        named = str(folder) in str(error) and any(word in str(error) for word in (name, "head"))
        return "refused" if named else f"refused without the name: {error}"
    if expected is None:
        return "not taken by transformers"
    difference = np.abs(got - expected).max() / np.abs(expected).max()
    return "equal" if difference < 3e-5 else f"another model: {difference}"


def test_every_field_is_honoured_or_refused_by_its_name(outcomes):
    """Whatever transformers' next version adds is refused here until somebody looks at it."""
    good = {"equal", "refused", "not taken by transformers"}
    assert not {key: found for key, found in outcomes.items() if found not in good}


def test_the_fields_that_change_the_network_are_honoured(outcomes):
    for name, value in [
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("reorder_and_upcast_attn", True),
        ("tie_word_embeddings", False),
        ("activation_function", "relu"),
        ("layer_norm_epsilon", 0.5),
        ("n_inner", 2),
        ("n_head", 2),
    ]:
        assert outcomes[name, repr(value)] == "equal", name
    for name, value in [("add_cross_attention", True), ("is_encoder_decoder", True)]:
        assert outcomes[name, repr(value)] == "refused", name


def test_what_does_not_matter_is_not_refused(outcomes):
    for name in ("resid_pdrop", "summary_type", "bos_token_id", "use_cache", "initializer_range"):
        found = {outcome for (field, _), outcome in outcomes.items() if field == name}
        assert found <= {"equal", "not taken by transformers"}, name


@pytest.mark.parametrize("name", sorted(ACT2FN))
def test_every_activation_is_honoured_or_refused(tmp_path, name):
    settings = {"activation_function": name}
    if name not in ACTIVATIONS:
        publish(tmp_path, {}, **settings)
        with pytest.raises(ValueError, match=rf"config\.json: activation_function .* got '{name}'"):
            load_gpt2(tmp_path)
        return
    expected = their_logits(publish(tmp_path, settings))
    close(load_gpt2(tmp_path)(TOKENS).array, expected)


@pytest.mark.parametrize("by_width", [True, False])
@pytest.mark.parametrize("by_layer", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_flags_together(tmp_path, by_width, by_layer, tied):
    """And what is saved again is the same function, for transformers too."""
    settings = {"scale_attn_weights": by_width, "scale_attn_by_inverse_layer_idx": by_layer}
    settings |= {"tie_word_embeddings": tied, "n_inner": 5, "activation_function": "silu"}
    expected = their_logits(publish(tmp_path / "theirs", settings))
    model = load_gpt2(tmp_path / "theirs")
    close(model(TOKENS).array, expected)
    save_gpt2(model, tmp_path / "ours")
    close(load_gpt2(tmp_path / "ours")(TOKENS).array, expected)
    close(their_logits(GPT2LMHeadModel.from_pretrained(tmp_path / "ours")), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", ["1GB", "4kB"])
def test_what_transformers_saves_is_read(tmp_path, dtype, tied, size):
    """In three precisions, one file or shards, tied or not."""
    model = publish(tmp_path / "x", {"tie_word_embeddings": tied})
    model.to(dtype).save_pretrained(tmp_path / "saved", max_shard_size=size)
    assert (tmp_path / "saved" / "model.safetensors.index.json").exists() == (size == "4kB")
    close(load_gpt2(tmp_path / "saved")(TOKENS).array, their_logits(model.float()))


# The file that is published with the smallest GPT-2, in the words of 2019.
OLD = {
    "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
    "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 9, "n_embd": 12, "n_head": 3,
    "n_layer": 2, "n_positions": 9, "resid_pdrop": 0.1, "summary_activation": None,
    "summary_first_dropout": 0.1, "summary_proj_to_labels": True, "summary_type": "cls_index",
    "summary_use_proj": True, "vocab_size": 17,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
}  # fmt: skip


@pytest.mark.parametrize(
    "names",
    [{}, {"n_embd": "hidden_size", "n_layer": "num_hidden_layers"}],
)
def test_old_files_and_other_names(tmp_path, names):
    expected = their_logits(publish(tmp_path, {}))
    settings = {names.get(name, name): value for name, value in OLD.items()}
    (tmp_path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    close(load_gpt2(tmp_path)(TOKENS).array, expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"use_rotary": True}, "use_rotary"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"auto_map": {"AutoModel": "code.py--Model"}}, "auto_map"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads"),
        ({"hidden_size": 13}, "hidden_size = 13"),
        ({"n_ctx": 8}, "n_ctx = 8"),
        ({"model_type": "gptj"}, "model_type = 'gptj'"),
        *(({name: value}, name) for name in SIZES for value in (None, 1.5, "3", [3], True, -1, 0)),
        ({"n_inner": -4}, "n_inner"),
        ({"n_inner": "48"}, "n_inner"),
        ({"n_head": 5}, "5 heads"),
        ({"scale_attn_weights": "false"}, "scale_attn_weights"),
        ({"scale_attn_weights": None}, "scale_attn_weights"),
        ({"activation_function": ["gelu"]}, "activation_function"),
        ({"layer_norm_epsilon": True}, "layer_norm_epsilon must be a number ≥ 0, got True"),
        ({"n_inner": True}, "n_inner must be a whole number ≥ 1, got True"),
        ({"n_embd": True}, "n_embd must be a whole number ≥ 1, got True"),
        ({"layer_norm_epsilon": -1e-5}, "layer_norm_epsilon"),
        ({"layer_norm_epsilon": "1e-5"}, "layer_norm_epsilon"),
        ({"layer_norm_epsilon": math.nan}, "NaN"),
        ({"layer_norm_epsilon": 10**400}, "401 digits"),
        ({"n_layer": 10**12}, "n_layer = 1000000000000"),
        ({"n_layer": 19}, "h.10.attn.c_attn.bias"),
        ({"vocab_size": 10**15}, "wte.weight"),
        ({"n_positions": 10**15}, "wpe.weight"),
        ({"n_embd": 3 * 10**15}, "n_embd"),
        ({"n_inner": 10**15}, "mlp.c_fc"),
    ],
)
def test_hostile_configurations_are_refused_before_anything_is_allocated(tmp_path, change, words):
    publish(tmp_path, {}, **change)
    tracemalloc.start()
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "config.json"))) as caught:
        load_gpt2(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert peak < 1e6


@pytest.mark.parametrize("kind", ["bert", "gpt_neo", "llama", "mistral", "opt", "qwen2"])
def test_another_network_is_called_by_its_name(tmp_path, kind):
    publish(tmp_path, {})
    (tmp_path / "config.json").write_text(
        AutoConfig.for_model(kind).to_json_string(), encoding="utf-8"
    )
    with pytest.raises(ValueError, match=f"config.json asks for model_type = '{kind}', which"):
        load_gpt2(tmp_path)


@pytest.mark.parametrize("name", SIZES)
def test_a_size_that_is_missing_is_named(tmp_path, name):
    publish(tmp_path, {})
    settings = {key: value for key, value in OLD.items() if key not in (name, "n_ctx")}
    (tmp_path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"config\.json: {name} is missing"):
        load_gpt2(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"[" * 100_000, b"\xff\xfe{}", b'{"n_'])
def test_a_configuration_that_is_none_is_named(tmp_path, content):
    publish(tmp_path, {})
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json cannot be read as the configuration"):
        load_gpt2(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_gpt2(tmp_path)

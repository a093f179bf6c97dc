"""GPT-2's published layout: random weights of a tiny configuration, made and run in torch."""

import json
import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from minissl.models.generate import generate
from minissl.models.gpt import GPT, GPTConfig
from minissl.models.published import from_gpt2_layout, load_gpt2, save_gpt2, to_gpt2_layout
from tests.models import torch_gpt2

VOCAB, CONTEXT, WIDTH, HEADS, LAYERS = 11, 7, 12, 3, 2
SETTINGS = {
    "model_type": "gpt2",
    "vocab_size": VOCAB,
    "n_positions": CONTEXT,
    "n_ctx": CONTEXT,
    "n_embd": WIDTH,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
}


def published_weights():
    shapes = {"wte.weight": (VOCAB, WIDTH), "wpe.weight": (CONTEXT, WIDTH)}
    norms = ["ln_f"] + [f"h.{i}.ln_{n}" for i in range(LAYERS) for n in (1, 2)]
    shapes |= {f"{norm}.{kind}": (WIDTH,) for norm in norms for kind in ("weight", "bias")}
    matrices = {
        "attn.c_attn": (1, 3),
        "attn.c_proj": (1, 1),
        "mlp.c_fc": (1, 4),
        "mlp.c_proj": (4, 1),
    }
    for i in range(LAYERS):
        for name, (rows, columns) in matrices.items():
            shapes[f"h.{i}.{name}.weight"] = (rows * WIDTH, columns * WIDTH)
            shapes[f"h.{i}.{name}.bias"] = (columns * WIDTH,)
    draw = torch.Generator().manual_seed(0)
    return {name: 0.4 * torch.randn(shape, generator=draw) for name, shape in shapes.items()}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    save_file(published_weights(), tmp_path / "model.safetensors")
    return tmp_path


TOKENS = np.random.default_rng(0).integers(VOCAB, size=(3, CONTEXT))


def test_the_logits_are_gpt2s(folder):
    model = load_gpt2(folder)
    assert not model.training
    got = model(TOKENS).array
    assert got.dtype == np.float32
    expected = torch_gpt2.forward(published_weights(), torch.from_numpy(TOKENS), HEADS).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    model.astype(np.float64)
    weights = {name: array.double() for name, array in published_weights().items()}
    expected = torch_gpt2.forward(weights, torch.from_numpy(TOKENS), HEADS).numpy()
    np.testing.assert_allclose(model(TOKENS).array, expected, rtol=1e-11, atol=1e-11)


def test_the_gradients_are_gpt2s(folder):
    """Through the tied embedding too: it gathers from both of its uses."""
    model = load_gpt2(folder).astype(np.float64)
    weights = {n: a.double().requires_grad_() for n, a in published_weights().items()}
    cotangent = np.random.default_rng(1).standard_normal((*TOKENS.shape, VOCAB))
    model(TOKENS).backward(cotangent)
    expected = torch_gpt2.forward(weights, torch.from_numpy(TOKENS), HEADS)
    expected.backward(torch.from_numpy(cotangent))
    got = to_gpt2_layout({n: p.grad for n, p in model.named_parameters()}, LAYERS)
    assert got.keys() == weights.keys()
    for name, gradient in got.items():
        reference = weights[name].grad.numpy()
        np.testing.assert_allclose(
            gradient, reference, rtol=0, atol=1e-9 * np.abs(reference).max(), err_msg=name
        )


def test_prefix_masks_and_tied_copy_are_understood(folder):
    weights = {f"transformer.{name}": array for name, array in published_weights().items()}
    for i in range(LAYERS):
        weights[f"transformer.h.{i}.attn.bias"] = torch.ones(1, 1, CONTEXT, CONTEXT)
        weights[f"transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    weights["lm_head.weight"] = published_weights()["wte.weight"]
    plain = load_gpt2(folder)
    save_file(weights, folder / "other.safetensors")
    prefixed = load_gpt2(folder / "other.safetensors")
    np.testing.assert_array_equal(prefixed(TOKENS).array, plain(TOKENS).array)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_numbers_become_the_float32_that_they_are(folder, dtype):
    stored = {name: array.to(dtype) for name, array in published_weights().items()}
    stored["wpe.weight"][0, :4] = torch.tensor([-0.0, 2**-24, torch.inf, torch.nan]).to(dtype)
    save_file(stored, folder / "model.safetensors")
    got = to_gpt2_layout(load_gpt2(folder).state_dict(), LAYERS)
    assert got.keys() == stored.keys()
    for name, array in stored.items():
        np.testing.assert_array_equal(
            got[name].view(np.uint32), array.float().numpy().view(np.uint32)
        )


def test_shards_are_one_file(folder):
    """Each array comes from the file that the index names."""
    plain = load_gpt2(folder)(TOKENS).array
    (folder / "model.safetensors").unlink()
    shard(folder)
    np.testing.assert_array_equal(load_gpt2(folder)(TOKENS).array, plain)


def shard(folder):
    weights = published_weights()
    places = {name: f"model-{1 + i % 2}-of-2.safetensors" for i, name in enumerate(weights)}
    for place in set(places.values()):
        save_file({n: a for n, a in weights.items() if places[n] == place}, folder / place)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return places


def test_an_output_of_its_own_is_saved_and_generates(folder, tmp_path):
    """With and without the quick step of decoding; the tied one's file has no output."""
    weights = published_weights()
    weights["lm_head.weight"] = torch.from_numpy(
        np.random.default_rng(3).standard_normal((VOCAB, WIDTH)).astype(np.float32)
    )
    save_file(weights, folder / "model.safetensors")
    settings = SETTINGS | {"tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    model = load_gpt2(folder)
    hidden = model.hidden(TOKENS).array
    expected = hidden @ weights["lm_head.weight"].numpy().T
    np.testing.assert_allclose(model(TOKENS).array, expected, rtol=1e-5, atol=1e-5)
    assert model.config.num_parameters() == sum(p.size for p in model.parameters())
    assert generate(model, [1], 6, temperature=0) == generate(
        model, [1], 6, temperature=0, cache=False
    )
    save_gpt2(model, tmp_path / "again")
    again = load_gpt2(tmp_path / "again")
    np.testing.assert_array_equal(again(TOKENS).array, model(TOKENS).array)


def test_saving_gives_the_same_file_back(folder, tmp_path):
    model = load_gpt2(folder, dropout=0.1)
    save_gpt2(model, tmp_path / "new" / "copy")
    assert sorted(p.name for p in (tmp_path / "new" / "copy").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    written = load_file(tmp_path / "new" / "copy" / "model.safetensors")
    for name, array in published_weights().items():
        assert torch.equal(written.pop(name), array), name
    assert not written
    settings = json.loads((tmp_path / "new" / "copy" / "config.json").read_text(encoding="utf-8"))
    assert settings.items() >= (SETTINGS.items() - {("n_ctx", CONTEXT)})
    assert settings["n_inner"] is None
    assert load_gpt2(tmp_path / "new" / "copy", dropout=0.1).config == model.config


def test_layouts_undo_each_other():
    arrays = {name: array.numpy() for name, array in published_weights().items()}
    back = to_gpt2_layout(from_gpt2_layout(arrays, LAYERS), LAYERS)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)


def test_missing_tensors_and_files_are_named(folder):
    weights = published_weights()
    del weights["h.1.mlp.c_fc.bias"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"lacks h\.1\.mlp\.c_fc\.bias, which .*config\.json asks"):
        load_gpt2(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        load_gpt2(folder)


def test_a_matrix_that_lies_transposed_is_named(folder):
    """As torch's Linear has it: one of many files that look like GPT-2's."""
    weights = published_weights()
    weights["h.1.mlp.c_fc.weight"] = weights["h.1.mlp.c_fc.weight"].T.contiguous()
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"safetensors: h\.1\.mlp\.c_fc\.weight has shape"):
        load_gpt2(folder)


def test_what_the_layout_cannot_hold_is_not_written(tmp_path):
    config = GPTConfig(
        vocab_size=3, context_length=2, num_layers=1, width=2, num_heads=1, norm_first=False
    )
    with pytest.raises(ValueError, match="norm_first=True, bias=True"):
        save_gpt2(GPT(config, generator=np.random.default_rng(0)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- files that are not what they should be ------------------------------------------------------


def refused(folder, *words):
    """load_gpt2 refuses, and names the file and what is wrong in one line."""
    with pytest.raises(ValueError, match=re.escape(str(folder))) as caught:
        load_gpt2(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    for word in words:
        assert word in message


def test_a_file_with_more_layers_than_its_configuration_is_refused(folder):
    (folder / "config.json").write_text(json.dumps(SETTINGS | {"n_layer": 1}), encoding="utf-8")
    refused(folder, "h.1.attn.c_attn.bias", "n_layer = 1", "and 9 more")


@pytest.mark.parametrize(
    "name", ["score.weight", "lm_head.bias", "h.0.attn.q_attn.weight", "h.0.mlp.bias", "h.0.bias"]
)
def test_an_array_that_has_no_place_is_refused(folder, name):
    save_file(published_weights() | {name: torch.zeros(VOCAB, WIDTH)}, folder / "model.safetensors")
    refused(folder, name)


def test_an_array_that_is_there_twice_is_refused(folder):
    weights = published_weights()
    save_file(
        weights | {"transformer.wte.weight": weights["wte.weight"] + 1},
        folder / "model.safetensors",
    )
    refused(folder, "'transformer.wte.weight'", "'wte.weight'")


def test_a_tied_output_that_is_another_matrix_is_refused(folder):
    weights = published_weights()
    weights["lm_head.weight"] = weights["wte.weight"] + 1
    save_file(weights, folder / "model.safetensors")
    refused(folder, "lm_head.weight", '"tie_word_embeddings": false')


def test_an_untied_output_that_is_missing_is_refused(folder):
    (folder / "config.json").write_text(
        json.dumps(SETTINGS | {"tie_word_embeddings": False}), encoding="utf-8"
    )
    refused(folder, "lacks lm_head.weight")


def test_quantised_weights_are_refused(folder):
    weights = published_weights()
    weights["h.0.mlp.c_fc.weight"] = weights["h.0.mlp.c_fc.weight"].to(torch.int8)
    save_file(weights, folder / "model.safetensors")
    refused(folder, "h.0.mlp.c_fc.weight", "I8")


def test_numbers_beyond_float32_are_refused(folder):
    weights = published_weights()
    weights["h.0.ln_1.bias"] = weights["h.0.ln_1.bias"].double() * 1e300
    save_file(weights, folder / "model.safetensors")
    refused(folder, "h.0.ln_1.bias", "infinite in float32")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "tf_model.h5"])
def test_weights_that_can_run_code_are_not_opened(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Armed(str(folder / "harm"))))
    refused(folder, name, "can run any program", "save_pretrained")
    assert not (folder / "harm").exists()


class Armed:
    """A pickle that makes a file when it is opened."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return open, (self.place, "w")


def test_a_file_cut_short_anywhere_is_refused(folder):
    whole = (folder / "model.safetensors").read_bytes()
    for length in [0, 1, 8, 9, 500, 2000, *range(3000, len(whole), 997), len(whole) - 1]:
        (folder / "model.safetensors").write_bytes(whole[:length])
        refused(folder, "model.safetensors")
    (folder / "model.safetensors").write_bytes(whole + b"more")
    refused(folder, "model.safetensors")


@pytest.mark.parametrize(
    "content",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"<html>404</html>",
        (2**63).to_bytes(8, "little") + b"{}",
        (8).to_bytes(8, "little") + b"[" * 8,
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
    ],
)
def test_other_files_are_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, "model.safetensors", "get it again")


@pytest.mark.parametrize(
    "index",
    [
        {},
        {"weight_map": []},
        {"weight_map": {"wte.weight": 3}},
        {"weight_map": {"wte.weight": "../model.safetensors"}},
        {"weight_map": {"wte.weight": "/etc/passwd"}},
        {"weight_map": {"wte.weight": ".."}},
        {"weight_map": {"wte.weight": "a\0b"}},
        {"weight_map": {"other": "model-1-of-2.safetensors"}},
        [],
    ],
)
def test_odd_indices_are_refused(folder, index):
    (folder / "model.safetensors").unlink()
    shard(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    refused(folder, "model.safetensors.index.json")


def test_a_shard_with_an_array_that_its_index_does_not_name_is_refused(folder):
    (folder / "model.safetensors").unlink()
    shard(folder)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    name, file = index["weight_map"].popitem()
    path.write_text(json.dumps(index), encoding="utf-8")
    refused(folder, "model.safetensors.index.json", file, "disagree on 1 array", name)


def test_a_shard_that_is_missing_or_another_ones_is_named(folder):
    (folder / "model.safetensors").unlink()
    shard(folder)
    first, second = (folder / f"model-{i}-of-2.safetensors" for i in (1, 2))
    first.write_bytes(second.read_bytes())
    refused(folder, "model-1-of-2.safetensors", "disagree")
    second.unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=r"model-\d-of-2\.safetensors"):
        load_gpt2(folder)

"""GPT-2's published layout: random weights of a tiny configuration, made and run in torch."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

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
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
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


def test_float16_weights_become_float32(folder):
    save_file(
        {name: array.half() for name, array in published_weights().items()},
        folder / "model.safetensors",
    )
    assert load_gpt2(folder)(TOKENS).dtype == np.float32


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
    settings = json.loads((tmp_path / "new" / "copy" / "config.json").read_text())
    assert settings.items() >= (SETTINGS.items() - {("n_ctx", CONTEXT)})
    assert settings["n_inner"] is None
    assert load_gpt2(tmp_path / "new" / "copy", dropout=0.1).config == model.config


def test_layouts_undo_each_other():
    arrays = {name: array.numpy() for name, array in published_weights().items()}
    back = to_gpt2_layout(from_gpt2_layout(arrays, LAYERS), LAYERS)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_function": "swish"}, "got 'swish'"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"n_positions": 8}, r"'positions.weight' has shape \(7, 12\)"),
    ],
)
def test_other_configurations_are_refused(folder, change, message):
    (folder / "config.json").write_text(json.dumps(SETTINGS | change))
    with pytest.raises(ValueError, match=message):
        load_gpt2(folder)


def test_missing_tensors_and_files_are_named(folder):
    weights = published_weights()
    del weights["h.1.mlp.c_fc.bias"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(KeyError, match=r"h\.1\.mlp\.c_fc\.bias"):
        load_gpt2(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        load_gpt2(folder)


def test_what_the_layout_cannot_hold_is_not_written(tmp_path):
    config = GPTConfig(
        vocab_size=3, context_length=2, num_layers=1, width=2, num_heads=1, norm_first=False
    )
    with pytest.raises(ValueError, match="norm_first=True and bias=True"):
        save_gpt2(GPT(config, generator=np.random.default_rng(0)), tmp_path / "out")
    assert not (tmp_path / "out").exists()

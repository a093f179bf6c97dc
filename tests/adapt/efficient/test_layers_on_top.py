"""New layers above a frozen network: torch's block, no gradient below, one vector or a sequence."""

import numpy as np
import pytest
import torch

from minissl.adapt.efficient.layers_on_top import LayersOnTop
from minissl.adapt.method import Task
from minissl.autograd import no_grad
from tests.adapt.toy import adapting, toy_labelled

BASES = ("gpt", "bert", "lstm", "elmo", "simclr", "skipgram")
TEXTS = [[5, 6, 7], [1, 2, 3, 4, 5, 6, 7], [3]]


def built(opened, **changes):
    task = Task.prepare(opened.data, toy_labelled("layers-on-top", opened), "class")
    return LayersOnTop.build(adapting("layers-on-top", **changes), opened, task, seed=0)


def examples(name):
    if name == "simclr":
        return np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    return TEXTS


def blocks_of(transformer, heads):
    """The same in torch, by the names of its parts."""
    width = transformer.config.width
    modules = []
    for block in transformer.blocks:
        layer = torch.nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True,
            activation=lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        ).eval()  # fmt: skip
        a, own = block.attention, layer.self_attn
        three = a.query, a.key, a.value
        pairs = {
            own.in_proj_weight: np.concatenate([p.weight.numpy() for p in three]),
            own.in_proj_bias: np.concatenate([p.bias.numpy() for p in three]),
        }
        for theirs, ours in (
            (own.out_proj, a.output), (layer.linear1, block.mlp.hidden),
            (layer.linear2, block.mlp.output), (layer.norm1, block.attention_norm),
            (layer.norm2, block.mlp_norm),
        ):  # fmt: skip
            pairs |= {theirs.weight: ours.weight.numpy(), theirs.bias: ours.bias.numpy()}
        for theirs, ours in pairs.items():
            theirs.data = torch.tensor(ours)
        modules.append(layer)
    return modules


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("layers", [1, 2])
def test_it_is_torchs_blocks_on_the_frozen_states(name, layers, bases):
    method, plain = built(bases[name], layers=layers), bases[name].method
    generator = np.random.default_rng(0)
    for p in method.base.stack.above.parameters():
        p.array = p.array + 0.3 * generator.standard_normal(p.shape).astype(np.float32)
    batch = plain.collate(examples(name))
    with no_grad():
        if name in ("simclr", "skipgram"):
            states, weights = plain.encode(batch).numpy()[:, None], np.ones((3, 1))
        else:
            states, weights = plain.each(batch).numpy(), batch[-1]
    inside = weights > 0
    ends = inside.shape[1] - np.argmax(inside[:, ::-1], axis=1)
    padding = torch.tensor(np.arange(inside.shape[1]) >= ends[:, None])
    x = torch.tensor(states)
    for block in blocks_of(method.base.stack.above, 2):
        x = block(x, src_key_padding_mask=padding)
    norm = method.base.stack.above.final_norm
    x = torch.nn.functional.layer_norm(
        x, x.shape[-1:], *(torch.tensor(p.numpy()) for p in (norm.weight, norm.bias))
    )
    expected = (torch.tensor(weights / weights.sum(1, keepdims=True))[..., None] * x).sum(dim=1)
    np.testing.assert_allclose(
        method.represent(examples(name)), expected.detach().numpy(), rtol=1e-3, atol=1e-5
    )
    if layers == 1:
        alone = [method.represent(examples(name)[i : i + 1])[0] for i in range(3)]
        np.testing.assert_allclose(alone, method.represent(examples(name)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BASES)
def test_nothing_below_has_a_gradient(name, bases):
    method = built(bases[name])
    method.loss(method.batch(np.random.default_rng(0)), np.random.default_rng(1)).backward()
    assert not [n for n, p in method.base.model.named_parameters() if p.grad is not None]
    names = {n for n, p in method.model.named_parameters() if p.grad is not None}
    assert {n for n in names if n.startswith("encoder")} == {
        f"encoder.above.{n}" for n, _ in method.base.stack.above.named_parameters()
    }
    saved = {n for n in method.saved().state_dict() if not n.startswith("head")}
    assert saved == {n for n in names if n.startswith("encoder")}
    collated = method.base.collate(examples(name))
    own = type(bases[name].method)
    vectors = name in ("simclr", "skipgram")
    one = own.encode(method.base, collated) if vectors else method.base.states(collated)[-1]
    assert not one.requires_grad, "no graph: a forward pass is all that it costs"


def test_heads_that_do_not_divide_the_width(bases):
    for name, width in (("gpt", 16), ("elmo", 32), ("skipgram", 16)):
        with pytest.raises(ValueError, match=rf"heads is 3, which does not divide {width}"):
            built(bases[name], heads=3)
    assert built(bases["simclr"], heads=12).represent(examples("simclr")).shape == (3, 12)
    assert built(bases["gpt"], heads=1).represent(TEXTS).shape == (3, 16)

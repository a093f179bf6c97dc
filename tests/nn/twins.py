"""torch.nn modules with the weights of ours: an independent oracle for outputs and gradients."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from minissl.autograd import Tensor
from minissl.nn import Module, MultiHeadAttention, Parameter
from minissl.nn.transformer import Block

Pairs = list[tuple[torch.nn.Parameter, list[Parameter]]]


def plain_pairs(twin: nn.Module, module: Module) -> Pairs:
    """Linear and LayerNorm: the same names and the same layout in both libraries."""
    return [
        (parameter, [getattr(module, name)])
        for name, parameter in twin.named_parameters(recurse=False)
    ]


def attention_pairs(twin: nn.MultiheadAttention, module: MultiHeadAttention) -> Pairs:
    """torch stacks the query, key and value matrices in one."""
    inputs = [module.query, module.key, module.value]
    return [
        (twin.in_proj_weight, [linear.weight for linear in inputs]),
        (twin.in_proj_bias, [linear.bias for linear in inputs]),
        *plain_pairs(twin.out_proj, module.output),
    ]


def block_pairs(
    twin: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer, block: Block
) -> Pairs:
    pairs = attention_pairs(twin.self_attn, block.attention)
    norms = [block.attention_norm]
    if block.cross_attention is not None:
        pairs += attention_pairs(twin.multihead_attn, block.cross_attention)
        norms.append(block.cross_attention_norm)
    for number, norm in enumerate([*norms, block.mlp_norm], start=1):
        pairs += plain_pairs(getattr(twin, f"norm{number}"), norm)
    pairs += plain_pairs(twin.linear1, block.mlp.hidden)
    pairs += plain_pairs(twin.linear2, block.mlp.output)
    return pairs


def copy_weights(pairs: Pairs) -> None:
    for theirs, ours in pairs:
        with torch.no_grad():
            theirs.copy_(torch.from_numpy(np.concatenate([p.array for p in ours])))


def gradient_errors(pairs: Pairs) -> Iterator[float]:
    """The largest difference of each gradient, in units of its largest value (or of 1e-6)."""
    for theirs, ours in pairs:
        expected = theirs.grad.numpy()
        got = np.concatenate([p.grad for p in ours])
        yield np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-6)


def randomize(module: Module, seed: int = 0) -> None:
    """float64 weights of order one half, biases and norms too: nothing is hidden by a 0 or a 1."""
    generator = np.random.default_rng(seed)
    for parameter in module.parameters():
        scale = 0.5 / np.sqrt(parameter.shape[-1]) if parameter.ndim > 1 else 0.3
        values = parameter.array.astype(np.float64)
        parameter.array = values + scale * generator.standard_normal(parameter.shape)


def inputs(*shape: int, seed: int = 0) -> tuple[Tensor, torch.Tensor]:
    """The same random float64 values as a leaf of both libraries."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return Tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)


def backward_both(output: Tensor, expected: torch.Tensor, seed: int = 9) -> None:
    """Walk back in both libraries from one random cotangent."""
    cotangent = np.random.default_rng(seed).standard_normal(output.shape)
    output.backward(cotangent)
    expected.backward(torch.from_numpy(cotangent))


def assert_close(got, expected, tolerance: float = 1e-10) -> None:
    expected = expected.detach().numpy() if isinstance(expected, torch.Tensor) else expected
    got = got.numpy() if isinstance(got, Tensor) else got
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)

"""Layer-norm launches for the compile check: real widths, few rows, forward and backward."""

from functools import partial
from unittest import mock

import torch
from minissl_kernels import layer_norm as module

ROWS = 4096


def call(width, dtype, parameter_dtype=None, bias=True, choice=module.CANDIDATES[0], rows=ROWS):
    parameter_dtype = parameter_dtype or dtype
    x = torch.zeros(rows, width, dtype=dtype, requires_grad=True)
    weight = torch.zeros(width, dtype=parameter_dtype, requires_grad=True)
    b = torch.zeros(width, dtype=parameter_dtype, requires_grad=True) if bias else None
    chosen = partial(module.configuration, choice=choice)
    with mock.patch.object(module, "configuration", chosen):
        module.layer_norm(x, weight, b).backward(torch.zeros_like(x))


def launches():
    """Yield (label, call); each call runs one public forward and backward."""
    bf16, fp16, fp32 = torch.bfloat16, torch.float16, torch.float32
    for width in (256, 768, 4096):
        yield f"layer norm bf16 {width}", partial(call, width, bf16)
    yield "layer norm bf16 8192, float32 parameters", partial(call, 8192, bf16, fp32)
    yield "layer norm bf16 16384 (wide)", partial(call, 16384, bf16)
    yield "layer norm fp16 1024, no bias", partial(call, 1024, fp16, bias=False)
    yield "layer norm fp32 1024", partial(call, 1024, fp32)
    yield "layer norm bf16 sizes of 1", partial(call, 1, bf16, rows=1)
    for number, choice in enumerate(module.CANDIDATES[1:], 1):
        label = f"layer norm bf16 1024, candidate {number}"
        yield label, partial(call, 1024, bf16, choice=choice)

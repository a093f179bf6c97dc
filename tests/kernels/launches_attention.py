"""Attention launches for the compile check: real tiles, few heads, forward and backward."""

from functools import partial
from unittest import mock

import torch
from minissl_kernels.attention import attention, backward, forward

TIME = 1024
BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


def call(width, dtype=BF16, key_heads=2, chosen=(), **settings):
    """One public call; ``chosen``: (module, name of its configuration, blocks)."""
    query = torch.zeros(1, 2, TIME, width, dtype=dtype, requires_grad=True)
    key = torch.zeros(1, key_heads, TIME, width, dtype=dtype, requires_grad=True)
    patches = [mock.patch.object(m, name, lambda *_, b=b: b) for m, name, b in chosen]
    for patch in patches:
        patch.start()
    try:
        attention(query, key, key, **settings).backward(torch.zeros_like(query))
    finally:
        for patch in patches:
            patch.stop()


def ones(keys):
    """All that can be 1 is: the shift too where there are two keys."""
    query = torch.zeros(1, 1, 1, 1, dtype=BF16, requires_grad=True)
    key = torch.zeros(1, 1, keys, 1, dtype=BF16, requires_grad=True)
    settings = {
        "window": (1, 1),
        "key_lengths": torch.ones(1, dtype=torch.int64),
        "bias": torch.zeros(1, keys, dtype=BF16, requires_grad=True),
        "alibi_slopes": torch.ones(1),
        "dropout": 0.5,
    }
    attention(query, key, key, seed=1, **settings).backward(torch.zeros_like(query))


def launches():
    """Yield (label, call); each call runs one public forward and backward."""
    for width in (64, 128):
        for causal in (False, True):
            label = f"attention bf16 width {width}{' causal' * causal}"
            yield label, partial(call, width, causal=causal)
    yield "attention bf16 width 256 causal", partial(call, 256, causal=True)
    yield "attention fp16 width 96 causal", partial(call, 96, FP16, causal=True)
    yield "attention fp32 width 64", partial(call, 64, FP32)
    yield "attention fp32 width 128 causal", partial(call, 128, FP32, causal=True)
    everything = {
        "window": (256, 0),
        "key_lengths": torch.full((1,), TIME),
        "bias": torch.zeros(2, TIME, TIME, dtype=BF16, requires_grad=True),
        "alibi_slopes": torch.ones(2),
        "dropout": 0.1,
        "seed": 3,
    }
    yield "attention bf16 width 64, all features", partial(call, 64, key_heads=1, **everything)
    yield "attention bf16, sizes of 1", partial(ones, 1)
    yield "attention bf16, sizes of 1, two keys", partial(ones, 2)
    for width in (64, 128):
        label = f"attention bf16 width {width} causal, dropout"
        yield label, partial(call, width, causal=True, dropout=0.1, seed=3)
    for module, name, candidates in (
        (forward, "configuration", forward.CANDIDATES),
        (backward, "key_value_configuration", backward.KEY_VALUE_CANDIDATES),
        (backward, "query_configuration", backward.QUERY_CANDIDATES),
    ):
        for width, blocks in [(w, b) for w, all_of in candidates.items() for b in all_of]:
            label = f"attention bf16 width {width} causal, candidate {name} {tuple(blocks)}"
            yield label, partial(call, width, chosen=[(module, name, blocks)], causal=True)

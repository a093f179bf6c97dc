"""Attention forward and backward, with 16,384 tokens and a model width of 2048 at every length."""

import importlib.util
import inspect
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.kernels.measure import (
    OURS,
    Case,
    Machine,
    against,
    full_precision,
    instead,
    tuned,
    wrong,
)

TITLE = "Attention"
FA2, CUDNN, FLEX, TUTORIAL = "FlashAttention-2", "cuDNN", "flex_attention", "Triton tutorial"
PEERS = (FA2, CUDNN, FLEX, TUTORIAL)
NOTES = (
    "TFLOP/s: 4 x batch x heads x queries x keys x width operations forward, half of it when "
    "causal, 2.5 times that backward; the backward is timed alone",
    "FlashAttention-2 and cuDNN as torch ships them (scaled_dot_product_attention with one backend "
    "forced); flex_attention compiled for each shape; the tutorial's kernel in float16, all that "
    "it takes",
    "reach: FlashAttention-2; aim: forward the fastest of all at width 64, 0.8 x cuDNN at 128, "
    "backward 0.8 x cuDNN",
)
TOKENS, MODEL_WIDTH = 16384, 2048
TIMES = (1024, 4096, 16384, 2048, 8192)  # the last two when there is time


def cases(machine: Machine, tutorial: Path | None = None) -> Iterator[Case]:
    if machine.dry:
        yield from both_cases(machine, 1, 1, 24, 16, True, tutorial)
        return
    for times in (TIMES[:3], TIMES[3:]):
        for width in (128, 64):
            for causal in (True, False):
                for time in times:
                    shape = TOKENS // time, MODEL_WIDTH // width, time, width
                    yield from both_cases(machine, *shape, causal, tutorial)


def tuning(machine: Machine) -> Iterator[Case]:
    from minissl_kernels.attention import backward, forward

    for case in cases(machine):
        width = 64 if case.name.startswith("width 64") else 128
        if not machine.dry and " 4096, " not in case.name:
            continue
        if case.name.endswith("forward"):
            candidates = instead(forward, "configuration", forward.CANDIDATES[width])
        else:
            candidates = {
                **instead(
                    backward, "key_value_configuration", backward.KEY_VALUE_CANDIDATES[width]
                ),
                **instead(backward, "query_configuration", backward.QUERY_CANDIDATES[width]),
            }
        yield tuned(case, candidates)


def both_cases(machine: Machine, batch, heads, time, width, causal, tutorial) -> Iterator[Case]:
    """Forward and backward of one shape, which share what flex_attention compiles."""
    shape = batch, heads, time, width
    inputs = [machine.randn(*shape) for _ in range(3)]
    functions = {
        OURS: ours,
        FA2: lambda causal: forced(SDPBackend.FLASH_ATTENTION, causal),
        CUDNN: lambda causal: forced(SDPBackend.CUDNN_ATTENTION, causal),
        FLEX: cache(lambda causal: flex(machine, time, causal)),
        TUTORIAL: lambda causal: by_tutorial(tutorial, machine, width, causal),
    }
    operations = 4 * batch * heads * time**2 * width * (0.5 if causal else 1)

    def dtype(name: str) -> torch.dtype:
        return torch.float16 if name == TUTORIAL and not machine.dry else machine.dtype

    label = f"width {width}, {'causal' if causal else 'full'}, {time}"
    for backward in (False, True):
        contenders = {
            name: partial(prepared, make, causal, inputs, backward, dtype(name))
            for name, make in functions.items()
        }
        yield Case(
            f"{label}, {'backward' if backward else 'forward'}",
            contenders,
            operations * (2.5 if backward else 1),
            "TFLOP/s",
            partial(check, inputs, causal),
            partial(judge, width, backward),
        )


def prepared(make, causal: bool, inputs, backward: bool, dtype: torch.dtype):
    function = make(causal)
    if dtype != inputs[0].dtype:
        inputs = [t.detach().to(dtype).requires_grad_() for t in inputs]
    return timed(function, inputs, backward)


def timed(function, inputs, backward: bool):
    if not backward:
        inputs = [t.detach() for t in inputs]

        def run():
            with torch.no_grad():
                return function(*inputs)

        return run
    out = function(*inputs)
    upstream = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, inputs, upstream, retain_graph=True)


def judge(width: int, backward: bool, times, _) -> dict[str, str]:
    best = not backward and width == 64
    aim = against(times, [FA2, CUDNN, FLEX, TUTORIAL]) if best else against(times, [CUDNN], 0.8)
    return {"reach": against(times, [FA2]), "aim": aim}


def check(inputs, causal: bool) -> str:
    """One sequence and two heads, against float32 without TF32."""
    upstream = torch.randn_like(inputs[0][:1, :2])

    def all_of(function, dtype):
        leaves = [t.detach()[:1, :2].to(dtype).requires_grad_() for t in inputs]
        out = function(*leaves)
        return [out.detach(), *torch.autograd.grad(out, leaves, upstream.to(dtype))]

    def plain(query, key, value):
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(query, key, value, is_causal=causal)

    with full_precision():
        exact = all_of(plain, torch.float32)
        peer = all_of(plain, inputs[0].dtype)
        return wrong(
            ("output", "query's gradient", "key's gradient", "value's gradient"),
            all_of(ours(causal), inputs[0].dtype),
            peer,
            exact,
        )


# ---- contenders: each returns a function of query, key and value --------------------------------


def ours(causal: bool):
    from minissl_kernels.attention import attention

    return lambda query, key, value: attention(query, key, value, causal=causal)


def forced(backend: SDPBackend, causal: bool):
    def run(query, key, value):
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(query, key, value, is_causal=causal)

    return run


def flex(machine: Machine, time: int, causal: bool):
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def below(batch, head, query, key):
        return query >= key

    mask = create_block_mask(below, None, None, time, time, device=machine.device)
    compiled = machine.compile(flex_attention)
    return lambda *inputs: compiled(*inputs, block_mask=mask if causal else None)


@cache
def load_tutorial(path: Path | None):
    """The user's copy of the tutorial; its licence is its own, so none lies in this repository."""
    if path is None:
        raise ImportError("no --tutorial PATH")
    spec = importlib.util.spec_from_file_location("triton_tutorial_attention", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_tutorial(path: Path | None, machine: Machine, width: int, causal: bool):
    """Checked first: some versions ignore ``causal`` in the backward."""
    tutorial = load_tutorial(path)._attention
    extra = [False] if "warp_specialize" in inspect.signature(tutorial.forward).parameters else []

    def run(query, key, value):
        return tutorial.apply(query, key, value, causal, width**-0.5, *extra)

    dtype = machine.dtype if machine.dry else torch.float16
    leaves = [machine.randn(1, 2, 1024, width, dtype=dtype) for _ in range(3)]
    upstream = torch.randn_like(leaves[0])
    plain = forced(SDPBackend.MATH, causal)
    for mine, expected in zip(
        [run(*leaves), *torch.autograd.grad(run(*leaves), leaves, upstream)],
        [plain(*leaves), *torch.autograd.grad(plain(*leaves), leaves, upstream)],
    ):
        if not (mine - expected).abs().max() <= 0.05 * expected.abs().max():
            raise ValueError("its result is wrong here")
    return run

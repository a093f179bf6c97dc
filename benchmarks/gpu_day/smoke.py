"""Each kernel once forward and backward at sizes that ship, against its float64 reference.

The checks are those of ``tests/kernels``, with less room for the sizes: a case takes seconds, and
most of them go into its compilation, which is why many processes share the cases.
"""

from collections.abc import Callable
from functools import partial

from benchmarks.gpu_day.pool import Teller, brief

DRY = (
    "attention bfloat16 64 everything", "engine bfloat16", "cross_entropy bfloat16 50257",
    "info_nce bfloat16 256", "linear_cross_entropy float32", "layer_norm bfloat16 768",
    "gelu bfloat16", "dropout bfloat16", "adamw bfloat16",
)  # fmt: skip
KINDS = ("info_nce", "nt_xent", "clip_loss", "supcon_loss")


class Small:
    """Where the cases run: the GPU at full size or, in a dry run, the interpreter at a tiny one."""

    def __init__(self, dry: bool) -> None:
        import torch

        self.dry = dry
        self.device = torch.device("cpu" if dry else "cuda")

    def size(self, full, tiny):
        return tiny if self.dry else full


def dtype(name: str):
    import torch

    return getattr(torch, name)


def attention(here: Small, width: int, of: str, **settings) -> None:
    from tests.kernels.attention_cases import Case, check

    time = here.size(300, 40)
    if settings.pop("everything", False):
        settings = {
            "window": (64, 0), "key_lengths": [time - 10, 12], "alibi": True,
            "bias": (4, time, time), "dropout": 0.1,
        }  # fmt: skip
    check(Case(2, 4, 2, time, time, width, dtype(of), **settings), here.device, factor=3.0)


def cross_entropy(here: Small, rows: int, classes: int, of: str, soft=False, **settings) -> None:
    from tests.kernels import cross_entropy_cases as cases

    rows, classes = here.size((rows, classes), (4, 300))
    if soft:
        targets = cases.draw_probabilities(rows, classes, device=here.device)
    else:
        targets = cases.draw_targets(rows, classes, -100, device=here.device)
    logits = cases.draw(rows, classes, dtype=dtype(of), device=here.device)
    cases.check(logits, targets, **{"reduction": "mean", **settings})


def linear_cross_entropy(here: Small, rows: int, classes: int, width: int, of: str) -> None:
    from tests.kernels import test_linear_cross_entropy as cases

    sizes = here.size((rows, classes, width), (9, 50, 32))
    drawn = cases.drawn(*sizes, dtype(of), here.device, ignore_index=-100)
    cases.check(*drawn, reduction="mean")


def layer_norm(here: Small, rows: int, width: int, of: str) -> None:
    from tests.kernels import test_layer_norm as cases

    shape = (here.size(rows, 3), width)
    cases.check(*cases.draw(shape, dtype(of), here.device), factor=3.0)


def gelu(here: Small, of: str) -> None:
    import torch

    from tests.kernels import test_gelu as cases

    for formula in cases.FORMULAS:
        cases.check(2 * torch.randn(3, 5000, device=here.device, dtype=dtype(of)), formula)


def dropout(here: Small, of: str) -> None:
    from tests.kernels import test_dropout as cases

    cases.test_values_and_gradients(here.device, (2, 5001), dtype(of))


def adamw(here: Small, of: str) -> None:
    from tests.kernels import test_adamw as cases

    cases.test_every_array_is_updated_and_nothing_else(here.device, dtype(of), 16)


def contrastive(here: Small, kind: str, width: int, of: str) -> None:
    from tests.kernels import contrastive_cases as cases

    rows, columns = here.size((300, 517), (21, 37))
    problems = cases.problems(rows, columns, width, dtype(of), here.device, scale=0.3)
    cases.check(problems[kind], factor=4.0)


def engine(here: Small, precision: str) -> None:
    """Five steps of ``fit`` on the GPU give the losses of NumPy."""
    import numpy as np

    from minissl.models.gpt import GPT, GPTConfig
    from minissl.optim import AdamW
    from minissl.pretrain.language.gpt import GPTPretraining
    from minissl.training import fit

    layers, width, length, batch = here.size((2, 64, 32, 4), (1, 16, 8, 1))
    config = GPTConfig(
        num_layers=layers, width=width, num_heads=2, vocab_size=100, context_length=length
    )
    stream = np.random.default_rng(1).integers(100, size=2000)

    def losses(where: str, precision: str) -> list[float]:
        model = GPT(config, generator=np.random.default_rng(0)).to(where)
        optimizer = AdamW(model.named_parameters(), lr=1e-3)
        method = GPTPretraining(model, stream, batch_size=batch)
        settings = {"clip": 1.0, "precision": precision, "progress": False}
        return fit(method, optimizer, steps=here.size(5, 1), **settings).losses()

    there, close = here.size("cuda:0", "torch"), 2e-2 if precision == "bfloat16" else 2e-3
    np.testing.assert_allclose(losses(there, precision), losses("cpu", "float32"), rtol=close)


def compiled(here: Small) -> None:
    """The operators within torch.compile, code generator included (only a GPU can run it)."""
    import torch
    from minissl_kernels.attention import attention
    from minissl_kernels.cross_entropy import cross_entropy
    from minissl_kernels.layer_norm import layer_norm

    x = torch.randn(2, here.size(64, 16), 4, 32, device=here.device, requires_grad=True)
    weight = torch.ones(32, device=here.device, requires_grad=True)
    targets = torch.randint(32, (x.numel() // 32,), device=here.device)

    def loss(x, weight):
        y = layer_norm(x, weight).transpose(1, 2)
        y = attention(y, y, y, causal=True).transpose(1, 2)
        return cross_entropy(torch.relu(y).reshape(-1, 32), targets)

    within = torch.compile(loss, backend=here.size("inductor", "aot_eager"))
    got = torch.autograd.grad(within(x, weight), (x, weight))
    for mine, expected in zip(got, torch.autograd.grad(loss(x, weight), (x, weight))):
        torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-5)


def attentions(*cases: tuple) -> dict[str, Callable]:
    found = {}
    for width, of, settings in cases:
        label = " ".join([*settings]) or "full"
        found[f"attention {of} {width} {label}"] = partial(
            attention, width=width, of=of, **settings
        )
    return found


# Those that compile longest first, so that the processes end together.
CASES: dict[str, Callable[[Small], None]] = {
    **attentions(
        (128, "float32", {"window": (50, 20)}),
        (128, "bfloat16", {"causal": True, "dropout": 0.2}),
        (128, "bfloat16", {"causal": True}),
        (64, "bfloat16", {"everything": True}),
        (64, "float32", {"causal": True}),
        (256, "bfloat16", {"causal": True}),
        (96, "float16", {"causal": True}),
        (64, "bfloat16", {}),
        (64, "bfloat16", {"causal": True}),
    ),
    "torch.compile": compiled,
    "engine bfloat16": partial(engine, precision="bfloat16"),
    "engine float32": partial(engine, precision="float32"),
    "cross_entropy bfloat16 50257": partial(cross_entropy, rows=64, classes=50257, of="bfloat16"),
    "cross_entropy bfloat16 128256": partial(
        cross_entropy, rows=32, classes=128256, of="bfloat16", reduction="none"
    ),
    **{f"{kind} bfloat16 256": partial(contrastive, kind=kind, width=256, of="bfloat16")
       for kind in KINDS},
    "info_nce float32 128": partial(contrastive, kind="info_nce", width=128, of="float32"),
    "info_nce bfloat16 768": partial(contrastive, kind="info_nce", width=768, of="bfloat16"),
    "linear_cross_entropy bfloat16": partial(
        linear_cross_entropy, rows=2500, classes=5000, width=768, of="bfloat16"
    ),
    "linear_cross_entropy float32": partial(
        linear_cross_entropy, rows=300, classes=1001, width=128, of="float32"
    ),
    "cross_entropy float32 smoothing": partial(
        cross_entropy, rows=64, classes=32000, of="float32", label_smoothing=0.1, z_loss=1e-3
    ),
    "cross_entropy bfloat16 probabilities": partial(
        cross_entropy, rows=32, classes=1000, of="bfloat16", soft=True
    ),
    "layer_norm bfloat16 768": partial(layer_norm, rows=1000, width=768, of="bfloat16"),
    "layer_norm float32 4096": partial(layer_norm, rows=300, width=4096, of="float32"),
    "layer_norm bfloat16 12288": partial(layer_norm, rows=50, width=12288, of="bfloat16"),
    "gelu bfloat16": partial(gelu, of="bfloat16"),
    "dropout bfloat16": partial(dropout, of="bfloat16"),
    "adamw bfloat16": partial(adamw, of="bfloat16"),
    "adamw float32": partial(adamw, of="float32"),
}  # fmt: skip


def work(job: dict, teller: Teller) -> None:
    """One case; ``job``: its name, and dry."""
    import torch

    here = Small(job["dry"])
    if here.dry:
        from tests.kernels import bfloat16, quick_interpreter

        bfloat16.install()  # what the interpreter computes wrongly
        quick_interpreter.install()
    torch.manual_seed(0)
    teller.begin(job["name"])
    try:
        CASES[job["name"]](here)
        if not here.dry:
            torch.cuda.synchronize()
    except Exception as error:
        kind = "INACCURATE" if isinstance(error, AssertionError) else "FAILED"
        teller.done(f"{kind}: {brief(error)}", error)
        leave_if_the_gpu_has_failed(here.dry)
    else:
        teller.done()


def leave_if_the_gpu_has_failed(dry: bool) -> None:
    """After an illegal access nothing runs in this process any more: another one goes on."""
    import torch

    try:
        if not dry:
            torch.cuda.synchronize()
    except Exception:
        raise SystemExit(1) from None

"""A name that both packages have means one thing: found by itself, compared at the defaults.

A name is shared if a public function of the kernels is called like a public function of the
library, or like one of its layers or optimizers (``LayerNorm`` and ``layer_norm``). Left out are
the library's commands, experiments and homework, which compute nothing with arrays, and
``autograd.fused.gpu``, through which the library calls the kernels.
"""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import torch
from minissl_kernels.launch import interpreted

from minissl.autograd import Tensor
from minissl.autograd.devices import move
from minissl.nn import Module
from minissl.optim import AdamW
from minissl.optim.optimizer import Optimizer

ELSEWHERE = ("minissl.cli", "minissl.claims", "minissl.homework", "minissl.autograd.fused.gpu")


def folded(name):
    return name.replace("_", "").lower()


def public_names(package):
    """{folded name: {"module.name": value}} of all functions and classes made in the package."""
    found = {}
    path = importlib.import_module(package).__path__
    for info in pkgutil.walk_packages(path, f"{package}."):
        if info.name.startswith(ELSEWHERE) or info.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(info.name)).items():
            made_here = getattr(value, "__module__", None) == info.name
            part = not inspect.isclass(value) or issubclass(value, (Module, Optimizer))
            if callable(value) and made_here and part and not name.startswith("_"):
                found.setdefault(folded(name), {})[f"{info.name}.{name}"] = value
    return found


OURS, KERNELS = public_names("minissl"), public_names("minissl_kernels")
SHARED = sorted(OURS.keys() & KERNELS.keys())
REDUCTIONS = [{"reduction": reduction} for reduction in ("none", "sum", "mean")]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


ROWS = [draw(6, 5), 2 * draw(6, 5, seed=1)]
HEADS = [draw(2, 2, 5, 8, seed=s) for s in range(3)]
LABELS = np.array([[0, 3], [-100, 1]])
# name: (inputs that get a gradient, positional inputs that get none, settings to try)
CASES = {
    "attention": (
        HEADS,
        [],
        [{}, {"causal": True}, {"scale": 0.3}, {"key_lengths": np.array([3, 5])}],
    ),
    "attention, other lengths": (
        [draw(1, 2, 3, 8), *(draw(1, 2, 7, 8, seed=s) for s in (1, 2))],
        [],
        [{}, {"causal": True}],
    ),
    "crossentropy": (
        [draw(2, 2, 4)],
        [LABELS],
        [{}, *REDUCTIONS, {"label_smoothing": 0.1}],
    ),
    "crossentropy, another index": ([draw(3, 4)], [np.array([2, 1, 2])], [{"ignore_index": 2}]),
    "gelu": ([3 * draw(4, 5)], [], [{}, {"approximate": "none"}, {"approximate": "tanh"}]),
    "infonce": (
        ROWS,
        [],
        [{"temperature": t} | more for t in (1.0, 0.2) for more in ({}, *REDUCTIONS)]
        + [{"temperature": 1.0, "normalize": False},
         {"negatives": draw(4, 5, seed=2), "temperature": 0.5}],
    ),
    "layernorm": (
        [2 + draw(3, 2, 5), draw(5, seed=1), draw(5, seed=2)],
        [],
        [{}, {"eps": 0.1}],
    ),
    "ntxent": (ROWS, [0.2], [{}, *REDUCTIONS]),
    "supconloss": (
        ROWS[:1],
        [np.array([3, 0, 3, 1, 0, 3])],  # one is alone
        [{"temperature": 0.2} | more for more in ({}, *REDUCTIONS, {"normalize": False})],
    ),
}  # fmt: skip
SPECIAL = {"adamw", "dropout"}  # their tests are below


def functions(found):
    return {name: value for name, value in found.items() if not inspect.isclass(value)}


def test_every_shared_name_has_a_case():
    cases = {name.split(",")[0] for name in CASES} | SPECIAL
    assert cases == set(SHARED), (
        "a name of both packages means one thing: give it a case, or rename"
    )


@pytest.mark.parametrize("name", SHARED)
def test_the_defaults_are_the_same(name):
    """Of parameters of one name: the same default, and the same order among those by position."""
    for ours in OURS[name].values():
        for theirs in KERNELS[name].values():
            a, b = (inspect.signature(f).parameters for f in (ours, theirs))
            both = [n for n in a if n in b]
            assert both, "not even a parameter has the same name"
            for parameter in both:
                values = {a[parameter].default, b[parameter].default} - {inspect.Parameter.empty}
                assert len(values) <= 1, parameter
            by_position = [
                [n for n in both if p[n].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
                for p in (a, b)
            ]
            order = [[n for n in p if n in both] for p in (a, b)]
            shortest = min(map(len, by_position))
            assert order[0][:shortest] == order[1][:shortest]


def there(array, dtype, device):
    array = np.asarray(array)
    floating = array.dtype.kind == "f"
    if device == "cpu":
        return array.astype(dtype) if floating else array
    moved = move(array, device)
    return moved.to(getattr(torch, dtype)) if floating else moved


def of_ours(function, inputs, others, options, dtype, device="cpu"):
    tensors = [Tensor(there(a, dtype, device), requires_grad=True) for a in inputs]
    others = [there(a, dtype, device) if isinstance(a, np.ndarray) else a for a in others]
    options = {
        n: there(v, dtype, device) if isinstance(v, np.ndarray) else v for n, v in options.items()
    }
    result = function(*tensors, *others, **options)
    result.backward(move(np.ones(result.shape), device).astype(result.dtype)
                    if device == "cpu" else torch.ones_like(result.array))  # fmt: skip
    return [result.array, *(t.grad for t in tensors)]


def of_kernels(function, inputs, others, options, dtype, device):
    def given(value):
        return there(value, dtype, device) if isinstance(value, np.ndarray) else value

    leaves = [there(a, dtype, device).requires_grad_() for a in inputs]
    options = {name: given(value) for name, value in options.items()}
    result = function(*leaves, *map(given, others), **options)
    result.backward(torch.ones_like(result))
    return [result.detach(), *(leaf.grad for leaf in leaves)]


@pytest.fixture
def device_name():
    return "torch" if interpreted() else "cuda:0"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_the_same(device_name, unsanitised, name, dtype):
    """From one input: shapes, values and gradients, on NumPy arrays and on torch arrays."""
    inputs, others, settings = CASES[name]
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-2, "atol": 1e-2}
    [kernel] = functions(KERNELS[name.split(",")[0]]).values()
    for options in settings:
        expected = of_kernels(kernel, inputs, others, options, dtype, device_name)
        for ours in functions(OURS[name.split(",")[0]]).values():
            for device in ("cpu", device_name):
                got = of_ours(ours, inputs, others, options, dtype, device)
                for a, b in zip(got, expected, strict=True):
                    assert tuple(a.shape) == tuple(b.shape)
                    np.testing.assert_allclose(move(a, "cpu"), move(b, "cpu"), **close)


@pytest.mark.parametrize("name", [n for n in SHARED if any(
    "reduction" in inspect.signature(f).parameters for f in KERNELS[n].values())])  # fmt: skip
def test_the_same_words_are_refused(device_name, name):
    inputs, others, settings = CASES[name]
    wrong = settings[0] | {"reduction": "average"}
    for ours in functions(OURS[name]).values():
        with pytest.raises(ValueError, match="'average'"):
            of_ours(ours, inputs, others, wrong, "float32")
    for kernel in KERNELS[name].values():
        with pytest.raises(ValueError, match="'average'"):
            of_kernels(kernel, inputs, others, wrong, "float32", device_name)


def test_dropout(device_name):
    """Of one x, p and seed, on arrays of torch: the same values. On NumPy, others are drawn."""
    from minissl_kernels.dropout import dropout as kernel

    from minissl.autograd import fused

    x, p, generator = 1 + draw(40, 50) ** 2, 0.3, np.random.default_rng(5)
    seed = int(np.random.default_rng(5).integers(2**63))
    expected = of_kernels(kernel, [x], [p, seed], {}, "float32", device_name)
    got = of_ours(fused.dropout, [x], [p, generator], {}, "float32", device_name)
    assert all(torch.equal(a, b) for a, b in zip(got, expected))
    value, gradient = of_ours(fused.dropout, [x], [p, generator], {}, "float32")
    for array, whole in ((value, x), (gradient, np.ones_like(x))):
        np.testing.assert_allclose(array[array != 0], (whole / (1 - p))[array != 0], rtol=1e-6)
        assert np.mean(array != 0) == pytest.approx(1 - p, abs=0.04)
    for p in (-0.1, 1.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"in \[0, 1\)"):
            of_ours(fused.dropout, [x], [p, generator], {}, "float32")
        with pytest.raises(ValueError, match=r"in \[0, 1\)"):
            of_kernels(kernel, [x], [p, 1], {}, "float32", device_name)


def test_adamw(device_name, unsanitised):
    """Three steps at the defaults, of a matrix that decays and a vector that does not."""
    from minissl_kernels.adamw import adamw as kernel

    from minissl.nn.module import Parameter

    arrays = {"matrix": draw(3, 4).astype("f4"), "vector": draw(5, seed=1).astype("f4")}
    parameters = {name: Parameter(array.copy()) for name, array in arrays.items()}
    optimizer = AdamW(parameters.items())
    theirs = [move(array, device_name).clone() for array in arrays.values()]
    moments = [[torch.zeros_like(p) for p in theirs] for _ in range(2)]
    for step in (1, 2, 3):
        gradients = [draw(*a.shape, seed=9 + step).astype("f4") for a in arrays.values()]
        for parameter, gradient in zip(parameters.values(), gradients):
            parameter.grad = gradient
        optimizer.step()
        kernel(
            theirs, [move(g, device_name) for g in gradients], *moments,
            steps=[step] * 2, weight_decays=[0.01, 0.0], lr=1e-3,
        )  # fmt: skip
    for parameter, other in zip(parameters.values(), theirs):
        np.testing.assert_allclose(parameter.array, move(other, "cpu"), rtol=1e-6, atol=1e-7)

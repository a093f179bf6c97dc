"""An operator and its direct call are one function: whoever watches, and whoever does not."""

import math

import pytest
import torch
from minissl_kernels.attention import attention
from minissl_kernels.cross_entropy import OPERATORS
from minissl_kernels.dropout import dropout
from minissl_kernels.gelu import gelu
from minissl_kernels.layer_norm import layer_norm
from minissl_kernels.linear_cross_entropy import linear_cross_entropy
from minissl_kernels.operators import watched
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

REFUSED = r"forward mode|by torch\.func \(jvp\)"


class Seen(TorchDispatchMode):
    """The names of the operators that were called."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(str(function).split(".")[1])
        return function(*args, **(kwargs or {}))


class Wrapped(torch.Tensor):
    """A subclass, as of a library that follows every operation."""


def inputs(device):
    torch.manual_seed(0)
    return [torch.randn(*shape, device=device) for shape in ((5, 7), (7,), (7,))]


def test_a_mode_meets_the_operator_and_nothing_inside(device):
    tensors = inputs(device)
    with Seen() as seen:
        layer_norm(*tensors)
    assert seen.names == {"layer_norm"}


def test_a_tracer_meets_the_operator(device):
    traced = make_fx(lambda x: gelu(x))(inputs(device)[0])
    assert "minissl.gelu.default" in traced.code


def test_a_subclass_keeps_its_type(device):
    x = inputs(device)[0].as_subclass(Wrapped)
    assert watched([x])
    assert isinstance(gelu(x), Wrapped)


def test_plain_calls_are_direct(device, monkeypatch):
    """Parameters and constants too: the dispatcher must not be asked."""
    from minissl_kernels import layer_norm as module

    monkeypatch.setattr(module._forward, "operator", None)
    x, weight, bias = inputs(device)
    assert not watched([x, torch.nn.Parameter(weight), None, 1e-5, "mean", True, torch.float32])
    with torch.no_grad():
        layer_norm(x, torch.nn.Parameter(weight), bias)
    layer_norm(x, torch.nn.Parameter(weight), bias).sum().backward()


def test_both_ways_give_the_same_bits(device):
    leaves = [t.requires_grad_() for t in inputs(device)]
    direct = layer_norm(*leaves)
    dispatched = torch.ops.minissl.layer_norm(*leaves, 1e-5)[0]
    assert torch.equal(direct, dispatched)
    g = torch.randn_like(direct)
    for a, b in zip(
        torch.autograd.grad(direct, leaves, g), torch.autograd.grad(dispatched, leaves, g)
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("asked", ["everything", "x"])
def test_a_second_derivative_that_is_not_there_is_refused(device, asked):
    """Not zero, and not silence: on whichever way autograd goes through the graph."""
    x = torch.randn(1, 1, 4, 8, device=device, requires_grad=True)
    loss = attention(x, x, x).square().sum()
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    total = loss + gradient.square().sum()
    with pytest.raises(RuntimeError, match=r"minissl::attention: .* second derivative"):
        total.backward() if asked == "everything" else torch.autograd.grad(total, x)


def test_a_gradient_without_graph_is_no_constant(device):
    """Loss + |gradient|²: the backward of a mean multiplies what the forward made of x.

    Taken for a constant that gives ∓0.2689 where ∓0.4804 is right.
    """
    one = torch.eye(2, device=device)
    leaf = torch.tensor([[1.0, 0.0]], device=device, requires_grad=True)
    value = linear_cross_entropy(leaf, one, torch.zeros(1, dtype=torch.int64, device=device))
    (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
    (value + gradient.pow(2).sum()).backward()
    s = 1 / (1 + math.e)  # p − 1 = −s, of which the slope is s (1 − s), in both coordinates
    right = s + 4 * s * s * (1 - s)
    assert torch.allclose(leaf.grad.cpu(), torch.tensor([[-right, right]]))


def test_dropout_is_linear_hence_has_all_derivatives(device):
    x, scale = torch.randn(9, device=device, requires_grad=True), torch.tensor(2.0, device=device)
    scale.requires_grad_()
    (gradient,) = torch.autograd.grad((scale * dropout(x, 0.5, 1)).sum(), x, create_graph=True)
    gradient.sum().backward()
    kept = (dropout(torch.ones(9, device=device), 0.5, 1) > 0).sum()
    assert scale.grad == 2 * kept


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own, for jvp
@pytest.mark.parametrize("grad", [True, False])
def test_forward_mode_is_refused(device, grad):
    """Never a tangent of 0: by jvp and by dual tensors, with and without autograd's graph."""
    x = inputs(device)[0]
    with torch.set_grad_enabled(grad), pytest.raises(RuntimeError, match=REFUSED):
        torch.func.jvp(gelu, (x,), (x,))
    with torch.autograd.forward_ad.dual_level():
        gelu(x)  # that has no tangent
        dual = torch.autograd.forward_ad.make_dual(x, x)
        with torch.set_grad_enabled(grad), pytest.raises(RuntimeError, match=REFUSED):
            gelu(dual)


def test_vmap_meets_the_operator(device):
    """What it maps over is hidden in a tensor of the usual type."""
    x = inputs(device)[0]
    assert torch.equal(torch.func.vmap(gelu)(x), gelu(x))


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit.trace:FutureWarning")
def test_torch_jit_meets_the_operator(device):
    """A trace of what is inside would lack the launches."""
    x = inputs(device)[0]
    traced = torch.jit.trace(gelu, (x,), check_trace=False)
    assert "minissl::gelu" in str(traced.graph)
    assert torch.equal(traced(x + 1), gelu(x + 1))


def test_what_is_overwritten_is_known_to_be(device):
    """Another operation that kept the logits must notice, as it does for torch's own."""
    overwriting = OPERATORS[2]
    logits = torch.randn(3, 8, device=device)
    targets = torch.tensor([1, 0, 5], device=device)
    _, statistics, divisor = OPERATORS[0](logits, targets, None, -100, 0.0, 0.0, "mean", True)
    kept = torch.randn(3, 8, device=device, requires_grad=True)
    product = (kept * logits).sum()
    upstream = torch.ones((), device=device)
    overwriting(logits, targets, None, statistics, divisor, upstream, -100, 0.0, 0.0, "mean")
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()

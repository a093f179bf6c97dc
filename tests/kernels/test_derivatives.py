"""Every function, differentiated in every way that torch knows: right, or an error that says so."""

import re

import pytest
import torch
from minissl_kernels.adamw import adamw, gradient_norm
from minissl_kernels.attention import attention
from minissl_kernels.cross_entropy import cross_entropy
from torch.autograd import forward_ad

from tests.kernels.every_function import CASES

pytestmark = [
    pytest.mark.usefixtures("unsanitised"),
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),  # of vmap
    pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning"),  # torch's, for jvp
]
IN_WORDS = r"(minissl::\w+|adamw|gradient_norm)( |: ).*(use|call|pass) "
LINEAR = {"dropout"}


def derivatives(function, tensors):
    """Loss + ½ |gradient|², the first gradient and that of the sum."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors.values()]
    loss = function(**dict(zip(tensors, leaves))).square().sum()
    first = torch.autograd.grad(loss, leaves, create_graph=True)
    total = loss + sum(g.square().sum() for g in first) / 2
    return first, torch.autograd.grad(total, leaves)


@pytest.mark.parametrize("name", CASES)
def test_a_second_derivative(device, name):
    """Against the same by torch in float64; with the graph, the first must be right as well."""
    case = CASES[name]
    tensors = case.tensors(device)
    exact = case.tensors("cpu")
    exact = {label: tensor.double() for label, tensor in exact.items()}
    with case.within():
        if not case.second:
            with pytest.raises(RuntimeError, match=r"second derivative.*use torch's own"):
                derivatives(case.call, tensors)
            return
        ours = derivatives(case.call, tensors)
    theirs = derivatives(case.composed, exact)
    for mine, right in zip(ours, theirs):
        for label, a, b in zip(tensors, mine, right):
            assert torch.allclose(a.cpu().double(), b, rtol=2e-4, atol=2e-5), label


@pytest.mark.parametrize("name", [name for name in CASES if "none" not in name])
def test_the_compositions_are_those_of_the_kernels(device, name):
    """The gradients with a graph and without are the same function's."""
    case = CASES[name]
    leaves = [tensor.requires_grad_() for tensor in case.tensors(device).values()]
    with case.within():
        result = case.call(**dict(zip(case.shapes, leaves)))
        upstream = torch.randn_like(result)
        kernel = torch.autograd.grad(result, leaves, upstream, retain_graph=True)
        composed = torch.autograd.grad(result, leaves, upstream, create_graph=True)
    for a, b in zip(kernel, composed):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def first_alone(case, device):
    """The case as a function of its first tensor, which is given too."""
    label, *others = case.tensors(device).items()
    (name, tensor), rest = label, dict(others)
    return (lambda x: case.call(**{name: x}, **rest)), tensor


def right_or_refused(got, expected):
    """``got()`` is near ``expected``, or raises in words."""
    try:
        result = got()
    except RuntimeError as error:
        if not re.search(IN_WORDS, str(error)):
            raise
        return False
    assert torch.allclose(result, expected(), rtol=1e-4, atol=1e-5)
    return True


@pytest.mark.parametrize("name", CASES)
def test_forward_mode_is_refused(device, name):
    function, x = first_alone(CASES[name], device)
    with pytest.raises(RuntimeError, match=IN_WORDS):
        torch.func.jvp(function, (x,), (torch.ones_like(x),))
    for grad in (torch.enable_grad, torch.no_grad):
        with grad(), forward_ad.dual_level(), pytest.raises(RuntimeError, match=IN_WORDS):
            function(forward_ad.make_dual(x, torch.ones_like(x)))


@pytest.mark.parametrize("name", CASES)
def test_transforms_are_right_or_refused(device, name):
    case = CASES[name]
    function, x = first_alone(case, device)
    loss = lambda x: function(x).square().sum()  # noqa: E731
    with case.within():
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf), leaf)
        right_or_refused(lambda: torch.func.grad(loss)(x), lambda: gradient)
        right_or_refused(lambda: torch.func.vjp(loss, x)[1](torch.ones(()))[0], lambda: gradient)
        right_or_refused(lambda: torch.func.hessian(loss)(x), lambda: gradient)
        several = torch.stack([x, 2 * x])
        each = lambda: torch.stack([function(one) for one in several])  # noqa: E731
        assert right_or_refused(lambda: torch.func.vmap(function)(several), each)
        assert not right_or_refused(lambda: torch.func.vmap(torch.func.grad(loss))(several), each)
        out = function(leaf)
        batch = torch.ones(2, *out.shape, device=device)
        assert not right_or_refused(
            lambda: torch.autograd.grad(out, leaf, batch, is_grads_batched=True)[0], each
        )


def test_the_faults_own_numbers(device):
    """With respect to a temperature of 1: σ(−1) = 0.2689, and its slope is −0.3413."""
    from minissl_kernels.contrastive import info_nce

    one = torch.eye(2, device=device)
    temperature = torch.ones((), device=device, requires_grad=True)
    plain = info_nce(one, one, temperature=temperature)  # unit vectors
    (first,) = torch.autograd.grad(plain, temperature, create_graph=True)
    (second,) = torch.autograd.grad(first, temperature)
    s = torch.tensor(-1.0).sigmoid()
    assert torch.allclose(first.cpu(), s)
    assert torch.allclose(second.cpu(), s * (1 - s) - 2 * s)


def test_overwritten_logits_have_no_second_derivative(device):
    """With a graph they are left alone; after a backward that took them there is nothing left."""
    logits = torch.randn(3, 4, device=device, requires_grad=True)
    targets = torch.tensor([0, 3, 1], device=device)
    loss = cross_entropy(logits * 1, targets, overwrite_logits=True)
    (first,) = torch.autograd.grad(loss, logits, create_graph=True)
    assert torch.autograd.grad(first.square().sum(), logits)[0].any()
    loss = cross_entropy(logits * 1, targets, overwrite_logits=True)
    torch.autograd.grad(loss, logits, retain_graph=True)
    with pytest.raises(RuntimeError, match="a second backward"):
        torch.autograd.grad(loss, logits, create_graph=True)


def test_a_graph_of_weighted_classes(device):
    """Their mean divides by the weights of the kept targets, with a graph and without."""
    logits = torch.randn(4, 3, device=device, requires_grad=True)
    targets = torch.tensor([0, 2, -100, 1], device=device)
    loss = cross_entropy(logits, targets, weight=torch.tensor([1.0, 2.0, 4.0], device=device))
    (plain,) = torch.autograd.grad(loss, logits, retain_graph=True)
    assert torch.allclose(torch.autograd.grad(loss, logits, create_graph=True)[0], plain)


def test_the_norm_has_no_gradient(device):
    x = torch.ones(4, device=device, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"gradient_norm: has no gradient.*pass .detach\(\)"):
        gradient_norm([x * 2])
    with torch.no_grad():
        assert gradient_norm([x]) == 2
    with pytest.raises(RuntimeError, match=IN_WORDS):
        torch.func.vmap(lambda x: gradient_norm([x]))(torch.ones(2, 3, device=device))
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match=IN_WORDS):
        gradient_norm([forward_ad.make_dual(x.detach(), torch.ones(4, device=device))])


def test_autograd_knows_that_a_step_wrote(device):
    """A graph that kept a parameter must not go backward with another."""
    parameter = torch.ones(4, device=device, requires_grad=True)
    loss = parameter.square().sum()
    one = [torch.ones(4, device=device) for _ in range(3)]
    adamw([parameter], *[[t] for t in one], steps=[1], weight_decays=[0.0], lr=0.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_dropout_in_attention_cannot_be_differentiated_twice_either(device):
    x = torch.randn(1, 1, 4, 8, device=device, requires_grad=True)
    out, lse = attention(x, x, x, dropout=0.5, seed=1, return_lse=True)
    (first,) = torch.autograd.grad(out.sum() + lse.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivative"):
        first.sum().backward()

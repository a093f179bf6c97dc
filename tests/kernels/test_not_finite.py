"""What is not finite and not masked makes the result not finite; what is masked changes nothing."""

import math

import numpy as np
import pytest
import torch
from minissl_kernels import contrastive
from minissl_kernels.adamw import adamw, gradient_norm
from minissl_kernels.attention import attention
from minissl_kernels.cross_entropy import cross_entropy
from minissl_kernels.dropout import dropout
from minissl_kernels.gelu import gelu
from minissl_kernels.layer_norm import layer_norm
from minissl_kernels.linear_cross_entropy import linear_cross_entropy

from tests.kernels.every_function import CASES, NOT_DIFFERENTIATED, plain, public_functions

pytestmark = [
    pytest.mark.usefixtures("unsanitised"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # NumPy's, of the interpreter
]
BAD = (math.nan, math.inf, -math.inf)
PLACES = {"one": lambda t: t.view(-1)[:1], "row": lambda t: t[-1:], "all": lambda t: t}
POISONED = [(math.nan, place) for place in PLACES] + [(math.inf, "one"), (-math.inf, "one")]


def test_every_public_function_is_swept():
    assert {case.function for case in CASES.values()} | NOT_DIFFERENTIATED == public_functions()


def run(case, tensors):
    """The result, and the gradients of the sum of its squares: of a linear function's too, they
    depend on what came out."""
    leaves = {label: tensor.detach().requires_grad_() for label, tensor in tensors.items()}
    with case.within():
        result = case.call(**leaves)
        return result.detach(), torch.autograd.grad(result.square().sum(), list(leaves.values()))


def finite(tensors):
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_finite_shows(device, name):
    case = CASES[name]
    result, gradients = run(case, case.tensors(device))
    assert finite([result, *gradients])
    for label in case.shapes:
        for bad, place in POISONED:
            if label in case.positive or (bad == -math.inf and label in case.minus_infinity):
                continue
            tensors = case.tensors(device)
            PLACES[place](tensors[label])[...] = bad
            result, gradients = run(case, tensors)
            assert not finite([result]), (label, bad, place)
            assert not finite(gradients), (label, bad, place, "gradient")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.hides])
def test_what_is_masked_changes_nothing(device, name):
    case = CASES[name]
    expected = run(case, case.tensors(device))
    for bad in BAD:
        tensors = case.tensors(device)
        for label, part in case.hides.items():
            tensors[label][part] = bad
        result, gradients = run(case, tensors)
        assert torch.equal(result, expected[0])
        assert all(torch.equal(*pair) for pair in zip(gradients, expected[1]))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.positive])
def test_temperatures(device, name):
    """NaN, ±∞, 0 and negative ones are refused; what overflows float32 shows."""
    case = CASES[name]
    for bad in (math.nan, math.inf, -math.inf, 0.0, -1.0):
        for temperature in (torch.tensor(bad, device=device), bad):
            if device.type == "cpu" or isinstance(temperature, float):
                with pytest.raises(ValueError, match="temperature must be"):
                    case.call(**case.tensors(device) | {"temperature": temperature})
    tensors = case.tensors(device) | {"temperature": torch.tensor(-100.0, device=device).exp()}
    result, gradients = run(case, tensors)
    assert not finite([result])
    assert not finite(gradients)


OVERFLOWS = ("info_nce mean", "nt_xent mean", "clip_loss", "supcon_loss mean", "attention",
             "attention, no bias", "linear_cross_entropy mean", "layer_norm whole",
             "layer_norm in pieces")  # fmt: skip


@pytest.mark.parametrize("name", OVERFLOWS)
def test_products_that_overflow_show(device, name):
    case = CASES[name]
    tensors = case.tensors(device)
    tensors = {t: v if t in case.positive else v * 1e25 for t, v in tensors.items()}
    result, gradients = run(case, tensors)
    assert not finite([result])
    assert not finite(gradients)


@pytest.mark.parametrize("name", ["info_nce", "nt_xent", "clip_loss", "supcon_loss"])
def test_a_positive_that_overflows_to_minus_infinity_is_not_left_out(device, name):
    """Partners have a similarity of −∞, others of 0: a loss of 0 would be the best there is."""
    first = torch.eye(2, 8, device=device) * 1e25
    loss = plain(getattr(contrastive, name))
    given = (first, -first)
    if name == "supcon_loss":
        given = (torch.cat(given), torch.tensor([0, 1, 0, 1], device=device))
    assert not loss(*given, temperature=1.0).isfinite()


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("bias", [False, True])
def test_a_row_whose_scores_all_overflow_is_no_row_without_keys(device, bias, sign):
    """−∞ for every key a query sees: the weights are 0 / 0, not 0."""
    query = torch.full((1, 1, 3, 8), sign * 1e25, device=device)
    key, value = -torch.full_like(query, 1e25), torch.ones_like(query)
    zero = torch.zeros(3, 3, device=device) if bias else None
    output, lse = attention(query, key, value, bias=zero, causal=True, return_lse=True)
    assert output.isnan().all()
    assert lse.isnan().all()


@pytest.mark.parametrize("low", [-math.inf, torch.finfo(torch.float32).min, -1e9, -1.1e6])
def test_what_a_bias_hides(device, low):
    """A whole row of it is a query without keys; beside other keys it is a weight of 0."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 1, 3, 8, device=device).unbind()
    bias = torch.zeros(3, 3, device=device)
    bias[0] = low
    bias[1, 1:] = low
    leaves = [tensor.clone().requires_grad_() for tensor in (query, key, value, bias)]
    *qkv, b = leaves
    output, lse = attention(*qkv, bias=b, return_lse=True)
    assert torch.equal(output[0, 0, 0], torch.zeros(8, device=device))
    assert lse[0, 0, 0] == -math.inf
    assert torch.allclose(output[0, 0, 1], value[0, 0, 0])
    gradients = torch.autograd.grad(output.sum(), leaves)
    assert finite(gradients)
    assert not gradients[3][0].any()
    least = attention(query, key, value, bias=torch.full_like(bias, -9e5))  # is an ordinary number
    assert torch.allclose(least, attention(query, key, value), atol=0.1)


@pytest.mark.parametrize("approximate", ["tanh", "none"])
def test_gelu_at_the_ends(device, approximate):
    x = torch.tensor([math.nan, math.inf, -math.inf], device=device, requires_grad=True)
    y = gelu(x, approximate)
    assert y[0].isnan()
    assert y[1] == math.inf
    assert y[2].isnan()  # −∞ · 0, as in torch
    assert torch.autograd.grad(y.sum(), x)[0].isnan().all()


@pytest.mark.parametrize("bad", BAD)
def test_dropout_does_not_drop_what_is_not_finite(device, bad):
    """As a product with the mask, which minissl's own is: 0 · NaN, forward and backward."""
    for x, g in ((bad, 1.0), (1.0, bad)):
        x, g = (torch.full((64,), value, device=device) for value in (x, g))
        y = dropout(x.requires_grad_(), 0.5, 1)
        gradient = torch.autograd.grad(y, x, g)[0]
        assert not (y * gradient).isfinite().any()


def test_labels_without_a_partner(device):
    """Their losses are 0, but not where a similarity is NaN."""
    features = torch.randn(3, 8, device=device)
    labels = torch.arange(3, device=device)
    assert contrastive.supcon_loss(features, labels, temperature=1.0) == 0
    features[1, 2] = math.nan
    assert contrastive.supcon_loss(features, labels, temperature=1.0).isnan()


def test_weights_of_classes_that_sum_to_zero(device):
    """As torch: 0 / 0. Where nothing is kept the mean is 0, with weights and without."""
    logits = torch.randn(3, 4, device=device, requires_grad=True)
    targets = torch.tensor([0, 1, 0], device=device)
    weight = torch.tensor([0.0, 0.0, 1.0, 1.0], device=device)
    ours = cross_entropy(logits, targets, weight=weight)
    assert ours.isnan()
    assert torch.nn.functional.cross_entropy(logits, targets, weight=weight).isnan()
    assert torch.autograd.grad(ours, logits)[0].isnan().all()
    for given in (weight, None):
        nothing = cross_entropy(logits, torch.full_like(targets, -100), weight=given)
        assert nothing == 0
        assert not torch.autograd.grad(nothing, logits)[0].any()


def test_weights_of_classes_that_are_not_finite(device):
    logits, targets = torch.randn(3, 4, device=device), torch.tensor([0, 1, 0], device=device)
    for bad in BAD:
        weight = torch.tensor([1.0, bad, 1.0, 1.0], device=device)
        for settings in ({}, {"label_smoothing": 0.1}):
            assert not cross_entropy(logits, targets, weight=weight, **settings).isfinite()
        soft = torch.full_like(logits, 0.25)
        assert not cross_entropy(logits, soft, weight=weight).isfinite()
        assert not cross_entropy(logits, soft * bad).isfinite()
        assert not cross_entropy(logits, targets, z_loss=bad).isfinite()


def test_a_class_of_weight_0_that_is_ruled_out(device):
    """Smoothing gives it a share of 0 · ∞, which is nothing: as if the class were not there."""
    logits, targets = torch.randn(3, 5, device=device), torch.tensor([0, 3, 1], device=device)
    weight = torch.tensor([1.0, 2.0, 0.0, 1.0, 1.0], device=device)
    settings = {"label_smoothing": 0.1, "reduction": "none"}
    right = torch.nn.functional.cross_entropy(logits, targets, weight, **settings)
    assert torch.allclose(cross_entropy(logits, targets, weight=weight, **settings), right)
    logits[:, 2] = -math.inf
    assert cross_entropy(logits, targets, weight=weight, **settings).isfinite().all()


def test_ignore_index_is_a_number(device):
    x, targets = torch.ones(2, 3, device=device), torch.zeros(2, dtype=torch.int64, device=device)
    for loss in (cross_entropy, lambda x, t, **s: linear_cross_entropy(x, x, t, **s)):
        with pytest.raises(TypeError, match="ignore_index must be an int, got None; to ignore"):
            loss(x, targets, ignore_index=None)
        assert loss(x, targets, ignore_index=np.int64(0)) == 0
    from minissl.autograd.fused import cross_entropy as ours

    with pytest.raises(TypeError, match="ignore_index must be an int, got None; to ignore"):
        ours(np.ones((2, 3)), np.zeros(2, int), ignore_index=None)


def test_linear_cross_entropy_of_logits_that_float16_cannot_hold(device):
    x = torch.full((1, 64), 100.0, device=device, dtype=torch.float16)
    weight = torch.cat([x, -x])
    targets = torch.zeros(1, dtype=torch.int64, device=device)
    assert linear_cross_entropy(x, weight, targets).isnan()
    assert linear_cross_entropy(x.float(), weight.float(), targets) == 0


def test_settings_that_are_not_finite_are_refused(device):
    x, one = torch.ones(2, 4, device=device), torch.ones(4, device=device)
    for bad in BAD:
        with pytest.raises(ValueError, match="eps must be at least 0 and finite"):
            layer_norm(x, one, eps=bad)
        with pytest.raises(ValueError, match="scale must be positive"):
            attention(*[x[None, None]] * 3, scale=bad)
    for bad in (math.nan, 0.0, -1.0):
        with pytest.raises(ValueError, match="max_norm must be positive"):
            adamw([one], [one], [one], [one], steps=[1], weight_decays=[0.0], lr=0.1, max_norm=bad)


@pytest.mark.parametrize("bad", BAD)
def test_adamw_shows_what_it_was_given(device, bad):
    """A gradient that is not finite: so is the norm, and nothing changes. A parameter: it stays."""
    for poisoned in range(4):
        arrays = [torch.ones(5, device=device) for _ in range(4)]
        arrays[poisoned][2] = bad
        parameter, gradient, first, second = arrays
        settings = {"steps": [1], "weight_decays": [0.1], "lr": 0.1}
        norm = adamw([parameter], [gradient], [first], [second], **settings)
        assert finite([norm]) == (poisoned != 1)
        if poisoned == 1:
            assert not finite([gradient_norm([gradient])])
            assert torch.equal(parameter, torch.ones_like(parameter))
        else:
            assert not finite([parameter, first, second])


REFERENCES = ("attention", "contrastive", "cross_entropy", "layer_norm", "gelu")


@pytest.mark.parametrize("name", REFERENCES)
def test_the_references_do_not_hide_it_either(name):
    from minissl_kernels.attention import reference as attention_reference
    from minissl_kernels.contrastive import reference as contrastive_reference
    from minissl_kernels.cross_entropy import reference as cross_entropy_reference
    from minissl_kernels.gelu import reference as gelu_reference
    from minissl_kernels.layer_norm import reference as layer_norm_reference

    generator = np.random.default_rng(0)
    a, b, g = generator.standard_normal((3, 4, 4))
    functions = {
        "attention": lambda a: attention_reference.forward(a[None, None], b[None, None],
                                                           b[None, None], 0.5),
        "contrastive": lambda a: contrastive_reference.forward(
            a, b, *contrastive_reference.target_masks(np.arange(4), 4)[:1], 0.5),
        "cross_entropy": lambda a: cross_entropy_reference(a, np.array([0, 3, -100, 1])),
        "layer_norm": lambda a: layer_norm_reference(a, b[0], b[1], g),
        "gelu": lambda a: gelu_reference(a, g, "tanh"),
    }  # fmt: skip
    with np.errstate(all="ignore"):
        for bad in BAD:
            poisoned = a.copy()
            poisoned[0, 0] = bad
            if name == "cross_entropy" and bad == -math.inf:
                poisoned[0, 0] = math.nan
            results = functions[name](poisoned)
            assert not all(np.isfinite(result).all() for result in results)


def test_the_references_do_not_read_what_is_masked():
    from minissl_kernels.attention import reference as attention_reference
    from minissl_kernels.cross_entropy import reference as cross_entropy_reference

    q, v = np.ones((1, 1, 3, 2)), np.ones((1, 1, 3, 2))
    k = q.copy()
    k[..., 2, :] = v[..., 2, :] = math.nan
    seen = attention_reference.visible(1, 3, 3, key_lengths=[2])
    assert np.array_equal(attention_reference.forward(q, k, v, 1.0, seen)[0], np.ones_like(q))
    gradients = attention_reference.backward(q, q[..., 0], q, k, v, 1.0, seen)
    assert all(np.isfinite(gradient).all() for gradient in gradients[:3])
    logits = np.array([[1.0, 2.0], [math.nan, 1.0]])
    loss, gradient = cross_entropy_reference(logits, np.array([0, -100]))
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()

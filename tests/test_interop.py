"""``torch_loss``: this library's losses in torch's autograd, against the same losses in torch."""

import gc
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minissl.autograd import Tensor, fused
from minissl.autograd import operations as ops
from minissl.autograd.fused import gpu
from minissl.interop import torch_loss
from minissl.losses import contrastive
from minissl.losses.language_modeling import next_token_loss

LABELS = torch.tensor([0, 2, 1, -100, 2])


def torch_nt_xent(first, second, temperature, reduction="mean"):
    views = F.normalize(torch.cat([first, second]))
    logits = (views @ views.T / temperature).fill_diagonal_(-torch.inf)
    partners = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(logits, partners, reduction=reduction)


def torch_info_nce(query, key, temperature=1.0, reduction="mean"):
    logits = F.normalize(query) @ F.normalize(key).T / temperature
    return F.cross_entropy(logits, torch.arange(len(query)), reduction=reduction)


def three_inputs(a, b, scale):
    return ops.sum((a * scale - b) ** 2, axis=-1)


# name: (ours, torch's, how many (5, 3) inputs, other positional arguments, keyword arguments)
CASES = {
    "nt_xent": (contrastive.nt_xent, torch_nt_xent, 2, (), {"temperature": 0.1}),
    "nt_xent, rows": (
        contrastive.nt_xent, torch_nt_xent, 2, (0.5,), {"reduction": "none"},
    ),
    "info_nce": (contrastive.info_nce, torch_info_nce, 2, (), {"temperature": 0.2}),
    "alignment_loss": (
        contrastive.alignment_loss,
        lambda a, b: (F.normalize(a) - F.normalize(b)).pow(2).sum(1).mean(), 2, (), {},
    ),
    "cross_entropy": (
        fused.cross_entropy, F.cross_entropy, 1, (LABELS,), {"label_smoothing": 0.1},
    ),
    "next_token_loss": (
        lambda logits, targets: next_token_loss(logits, targets, reduction="none"),
        lambda logits, targets: F.cross_entropy(logits, targets, reduction="none"),
        1, (LABELS,), {},
    ),
    "of three": (
        three_inputs, lambda a, b, scale: ((a * scale - b) ** 2).sum(-1), 3, (), {},
    ),
    "not a loss": (
        lambda x: ops.softmax(x, axis=-1), lambda x: x.softmax(-1), 1, (), {},
    ),
}  # fmt: skip
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def draw(*shape, seed=0, dtype=torch.float32, grad=True):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(shape, generator=generator, dtype=torch.float64)
    return rows.to(dtype).requires_grad_(grad)


@pytest.fixture
def no_kernels(monkeypatch):
    """Interpreted, they are slow, and have no bfloat16."""
    monkeypatch.setattr(gpu, "runs_kernels", lambda array: False)


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_torchs_through_the_kernels(name):
    check(name, torch.float32)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_torchs(no_kernels, name, dtype):
    check(name, dtype)


def check(name, dtype):
    ours, theirs, count, others, options = CASES[name]
    inputs = [draw(5, 3, seed=s, dtype=dtype) for s in range(count)]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    value = torch_loss(ours, **options)(*inputs, *others)
    expected = theirs(*exact, *others, **options)
    assert value.shape == expected.shape
    upstream = draw(*expected.shape, seed=9, dtype=torch.float64, grad=False)
    value.backward(upstream.to(value.dtype))
    expected.backward(upstream)
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(value.double(), expected, **close)
    for x, right in zip(inputs, exact):
        assert x.grad.dtype == dtype
        close["atol"] = TOLERANCE[dtype] * max(float(right.grad.abs().max()), 1)
        torch.testing.assert_close(x.grad.double(), right.grad, **close)


@pytest.mark.parametrize("name", CASES)
def test_torchs_own_check(name):
    """Finite differences, by many backward calls through one graph."""
    ours, _, count, others, options = CASES[name]
    inputs = [draw(5, 3, seed=s, dtype=torch.float64) for s in range(count)]
    assert torch.autograd.gradcheck(lambda *x: torch_loss(ours, **options)(*x, *others), inputs)


def test_settings_and_arguments_may_come_in_any_way():
    a, b, nt_xent = draw(5, 3), draw(5, 3, seed=1), contrastive.nt_xent
    right = torch_nt_xent(a, b, 0.1)
    for value in (
        torch_loss(nt_xent, temperature=0.1)(a, b),
        torch_loss(nt_xent)(a, b, 0.1),
        torch_loss(nt_xent)(a, second=b, temperature=0.1),
        torch_loss(nt_xent, temperature=5.0)(a, b, temperature=0.1),
    ):
        torch.testing.assert_close(value, right)
        a.grad = b.grad = None
        value.backward()
        for x, gradient in zip((a, b), torch.autograd.grad(torch_nt_xent(a, b, 0.1), (a, b))):
            torch.testing.assert_close(x.grad, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_temperature_that_learns_with_the_network(no_kernels, dtype):
    """As in CLIP: of the dtype of the parameters, beside embeddings of any other."""
    a, b = draw(5, 3, dtype=dtype), draw(5, 3, seed=1, dtype=dtype)
    scale = torch.tensor(1.5, requires_grad=True)
    torch_loss(contrastive.info_nce)(a, b, temperature=torch.exp(-scale)).backward()
    right = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    torch_info_nce(a.double(), b.double(), torch.exp(-right)).backward()
    assert scale.grad.item() == pytest.approx(right.grad.item(), rel=TOLERANCE[dtype] + 1e-5)


def test_only_what_requires_a_gradient_gets_one():
    loss = torch_loss(contrastive.nt_xent, temperature=0.5)
    a, b = draw(5, 3), draw(5, 3, seed=1, grad=False)
    loss(a, b).backward()
    assert a.grad is not None
    assert b.grad is None
    assert not loss(b, b).requires_grad
    with torch.no_grad():
        assert not loss(a, a).requires_grad
    unused = draw(5, 3)
    torch_loss(lambda x, y: ops.sum(x))(a, unused).backward()
    assert unused.grad is None
    assert not torch_loss(lambda x: ops.sum(Tensor(torch.ones(2))))(a).requires_grad


def test_no_history_is_recorded_where_torch_records_none():
    recorded = []

    def loss(x):
        result = ops.sum(x * x)
        recorded.append(result.requires_grad)
        return result

    x = draw(3)
    with torch.no_grad():
        torch_loss(loss)(x)
    torch_loss(loss)(x)
    torch_loss(loss)(x.detach())
    assert recorded == [False, True, False]


def test_one_tensor_twice_gets_both_gradients():
    x, y = draw(5, 3), draw(5, 3)
    torch_loss(contrastive.info_nce, temperature=0.3)(x, x).backward()
    torch_info_nce(y, y, 0.3).backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-6)


def test_masks_numbers_and_none_arrive_as_they_are():
    seen = {}

    def loss(x, mask, count, nothing, flag=False):
        seen.update(mask=mask, count=count, nothing=nothing, flag=flag)
        return ops.sum(ops.where(mask, x, 0.0)) / count

    x, mask = draw(4), torch.tensor([True, False, True, False])
    torch_loss(loss, flag=True)(x, mask, 2, None).backward()
    assert x.grad.tolist() == [0.5, 0, 0.5, 0]
    assert type(seen["mask"]) is torch.Tensor
    assert (seen["count"], seen["nothing"], seen["flag"]) == (2, None, True)


def test_views_of_any_strides_and_parameters():
    base = torch.nn.Parameter(draw(3, 10, dtype=torch.float64).detach())
    view = base.T[::2]
    torch_loss(contrastive.alignment_loss)(view, view.flip(0)).backward()
    twin = base.detach().clone().requires_grad_()
    rows = F.normalize(twin.T[::2])
    (rows - rows.flip(0)).pow(2).sum(1).mean().backward()
    torch.testing.assert_close(base.grad, twin.grad)


# ---- a training loop of somebody else ------------------------------------------------------------


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)
        )
        self.log_temperature = torch.nn.Parameter(torch.tensor(-1.0))

    def forward(self, x):
        return self.layers(x)


@pytest.mark.filterwarnings("ignore::UserWarning")  # inside torch.compile
@pytest.mark.parametrize("compiled", [False, True])
def test_a_network_learns_as_with_torchs_loss(no_kernels, compiled):
    """Step by step the same losses, and at the end far below chance."""
    histories = []
    ours = torch_loss(contrastive.nt_xent)
    for loss in (ours, torch_nt_xent):
        torch.manual_seed(0)
        model, noise = Encoder(), torch.Generator().manual_seed(1)
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        things = torch.randn(16, 8, generator=noise)

        def step(first, second, model=model, loss=loss):
            return loss(model(first), model(second), model.log_temperature.exp())

        if compiled and loss is ours:
            step = torch.compile(step, backend="eager")
        history = []
        for _ in range(4 if compiled else 100):
            views = [things + 0.1 * torch.randn(16, 8, generator=noise) for _ in range(2)]
            value = step(*views)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            history.append(value.item())
        histories.append(history)
    torch.testing.assert_close(*histories, rtol=2e-3, atol=1e-4)
    if not compiled:
        assert histories[0][-1] < 0.3 * contrastive.chance_level("nt_xent", 16)
        assert model.log_temperature.item() != -1.0


def test_under_autocast_the_loss_is_not_cast(no_kernels):
    x, y = draw(5, 3), draw(5, 3, seed=1)
    layer = torch.nn.Linear(3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        whole = torch_loss(contrastive.info_nce, temperature=0.1)(x, y)
        half = torch_loss(contrastive.info_nce, temperature=0.1)(layer(x), layer(y))
    torch.testing.assert_close(whole, torch_info_nce(x, y, 0.1))
    half.backward()
    assert layer.weight.grad.isfinite().all()


# ---- what it refuses -----------------------------------------------------------------------------


def test_a_second_derivative_is_refused():
    x = draw(5, 3)
    value = torch_loss(contrastive.alignment_loss)(x, draw(5, 3, seed=1))
    with pytest.raises(RuntimeError, match=r"create_graph=True.*second derivative"):
        torch.autograd.grad(value, x, create_graph=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch.func
def test_forward_mode_and_transforms_are_refused():
    loss, x = torch_loss(lambda a: ops.sum(a * a)), draw(3, grad=False)
    for transformed in (
        lambda: torch.func.grad(loss)(x),
        lambda: torch.func.jvp(loss, (x,), (x,)),
        lambda: torch.func.vmap(loss)(x[None]),
    ):
        with pytest.raises(RuntimeError, match=r"torch_loss: torch.func cannot look into minissl"):
            transformed()


def test_a_second_backward_computes_the_loss_again():
    x = draw(5, 3)
    value = torch_loss(contrastive.alignment_loss)(x, draw(5, 3, seed=1))
    first = torch.autograd.grad(value, x, retain_graph=True)
    assert torch.equal(*first, *torch.autograd.grad(value, x))
    with pytest.raises(RuntimeError, match="second time"):
        value.backward()


def test_a_loss_of_nan_is_the_same_the_second_time():
    x = torch.full((5, 3), torch.nan, requires_grad=True)
    value = torch_loss(contrastive.alignment_loss)(x, draw(5, 3, seed=1))
    for keep in (True, False):
        assert torch.autograd.grad(value, x, retain_graph=keep)[0].isnan().any()


def test_a_second_backward_of_a_random_loss_is_refused():
    generator, x = np.random.default_rng(0), draw(50)
    value = torch_loss(lambda a: ops.sum(fused.dropout(a, 0.5, generator) * a))(x)
    value.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="gives another value"):
        value.backward()


def test_a_tensor_written_to_is_noticed():
    x = draw(5, 3)
    rows = x * 1
    value = torch_loss(contrastive.alignment_loss)(rows, draw(5, 3, seed=1))
    with torch.no_grad():
        rows.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda x: (x, x), "got tuple"),
        (lambda x: None, "got NoneType"),
        (lambda x: x.array, "got Tensor"),
        (lambda x: Tensor(np.ones(3, np.float32)), r"got Tensor\(\[1. 1. 1.\]"),
    ],
)
def test_a_loss_must_give_one_tensor(result, words):
    with pytest.raises(TypeError, match=f"torch_loss: the loss must give one Tensor.*{words}"):
        torch_loss(result)(draw(3))


@pytest.mark.parametrize("recorded", [False, True])
def test_errors_of_the_loss_arrive_as_they_are(recorded):
    with pytest.raises(ValueError, match="temperature must be positive"):
        torch_loss(contrastive.nt_xent, temperature=0.0)(draw(5, 3, grad=recorded), draw(5, 3))


UNAWARE = {
    "nt_xent": lambda x: contrastive.nt_xent(x, x, 0.1),
    "cross_entropy": lambda x: fused.cross_entropy(x, torch.zeros(5, dtype=torch.int64)),
    "gelu": fused.gelu,
    "layer_norm": lambda x: fused.layer_norm(x, torch.ones(3), torch.zeros(3)),
    "attention": lambda x: fused.attention(*[x[None, None]] * 3),
    "beside a Tensor": lambda x: Tensor(x.detach(), requires_grad=True) + x,
    "beside a number": lambda x: ops.multiply(x, 2.0),
    "temperature": lambda x: contrastive.nt_xent(x.detach(), x.detach(), x[0, 0]),
}


@pytest.mark.parametrize("name", UNAWARE)
def test_the_error_without_it_names_it(name):
    with pytest.raises(
        TypeError, match=r"nothing before.*would learn.*minissl\.interop\.torch_loss"
    ):
        UNAWARE[name](draw(5, 3))


def test_nothing_is_kept_alive():
    """A result knows its ctx; if the ctx knew the result, no step's memory would be freed."""
    seen = []

    def loss(x):
        result = ops.sum(x * x)
        seen.append(weakref.ref(result))
        return result

    gc.disable()
    try:
        torch_loss(loss)(draw(3))
        torch_loss(loss)(draw(3)).backward()
        assert [ref() for ref in seen] == [None, None]
    finally:
        gc.enable()


def test_nothing_is_copied_to_another_place():
    """The Tensors of the loss are the torch tensors' own memory, on whatever device it is."""
    places = []

    def loss(x, y):
        places.extend([x.array.data_ptr(), y.array.data_ptr()])
        return ops.sum(x * y)

    x, y = draw(3), draw(3)
    torch_loss(loss)(x, y)
    assert places == [x.data_ptr(), y.data_ptr()]

"""The contrastive losses beside published libraries, under torch.compile, and with wrong input."""

import pytest
import torch
from minissl_kernels import launch
from minissl_kernels.contrastive import clip_loss, info_nce, nt_xent, supcon_loss
from minissl_kernels.contrastive.losses import unit_rows
from minissl_kernels.contrastive.operator import contrastive_gradient, contrastive_losses

from tests.kernels.contrastive_cases import draw, ours, problems, whole
from tests.kernels.test_contrastive import small_tiles  # noqa: F401

unit = torch.nn.functional.normalize


def gradients_agree(ours, theirs, *embeddings):
    """Values and gradients of two scalar losses, within float32."""
    results = []
    for loss in (ours, theirs):
        leaves = [e.clone().requires_grad_() for e in embeddings]
        value = loss(*leaves)
        results.append([value.detach(), *torch.autograd.grad(value, leaves)])
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


# ---- published libraries -------------------------------------------------------------------------


def test_pytorch_metric_learning_nt_xent(device, small_tiles):  # noqa: F811
    published = pytest.importorskip("pytorch_metric_learning.losses").NTXentLoss(0.2)
    first, second = (draw(11, 6, seed=s, device=device) for s in (0, 1))
    labels = torch.arange(11, device=device).repeat(2)
    gradients_agree(
        lambda a, b: nt_xent(a, b, temperature=0.2),
        lambda a, b: published(torch.cat([a, b]), labels),
        first,
        second,
    )


def test_pytorch_metric_learning_supcon(device, small_tiles):  # noqa: F811
    published = pytest.importorskip("pytorch_metric_learning.losses").SupConLoss(0.2)
    labels = whole(5, 6, 23, device)
    labels[4] = 50  # alone
    gradients_agree(
        lambda x: supcon_loss(x, labels, temperature=0.2),
        lambda x: published(x, labels),
        draw(23, 6, device=device),
    )


def test_info_nce_pytorch(device, small_tiles):  # noqa: F811
    published_info_nce = pytest.importorskip("info_nce").info_nce
    query, key, negatives = (draw(n, 6, seed=n, device=device) for n in (19, 19, 30))
    gradients_agree(
        lambda q, k: info_nce(q, k, temperature=0.2),
        lambda q, k: published_info_nce(q, k, temperature=0.2),
        query,
        key,
    )
    own = torch.nn.functional.cross_entropy  # theirs has only a row's own key beside the negatives
    theirs = published_info_nce(
        query, key, negatives, temperature=0.2, negative_mode="unpaired", reduction="none"
    )
    logits = torch.cat([(unit(query) * unit(key)).sum(1, keepdim=True),
                        unit(query) @ unit(negatives).T], 1) / 0.2  # fmt: skip
    torch.testing.assert_close(
        theirs, own(logits, torch.zeros(19, dtype=torch.int64, device=device), reduction="none")
    )
    one = [
        info_nce(q, k, temperature=0.2, negatives=negatives)
        for q, k in zip(query.split(1), key.split(1))
    ]
    torch.testing.assert_close(torch.stack(one), theirs, rtol=1e-5, atol=1e-6)


# ---- what is done to the rows --------------------------------------------------------------------


def every_loss(count, device):
    """Name, and the loss of one matrix (2 count, width): as pairs, or with labels."""
    labels = torch.arange(count, device=device).repeat(2)

    def halves(loss):
        return lambda x, **settings: loss(x[:count], x[count:], temperature=0.5, **settings)

    return {
        "info_nce": halves(info_nce),
        "nt_xent": halves(nt_xent),
        "clip_loss": halves(clip_loss),
        "supcon_loss": lambda x, **settings: supcon_loss(x, labels, temperature=0.5, **settings),
    }


LOSSES = list(every_loss(1, "cpu"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", ["1e-4", "1", "1e4", "the largest"])
@pytest.mark.parametrize("name", LOSSES)
def test_rows_of_any_length(device, small_tiles, name, size, dtype):  # noqa: F811
    """Value and gradient against float64: the squares of some are infinite, of others 0."""
    largest = torch.finfo(dtype).max
    x = draw(10, 5, device=device).clamp(-3, 3)
    x = (x * (largest / 3 if size == "the largest" else float(size))).to(dtype).requires_grad_()
    loss = every_loss(5, device)[name](x)
    loss.backward()
    exact = x.detach().double().requires_grad_()
    expected = every_loss_in_torch(name, exact)
    expected.backward()
    eps = torch.finfo(dtype).eps
    assert abs(loss.item() - expected.item()) <= 16 * eps
    error = (x.grad.double() - exact.grad).abs().max()
    smallest = torch.finfo(dtype).smallest_normal * eps  # what the dtype can tell from 0
    assert error <= 32 * eps * exact.grad.abs().max() + smallest


def every_loss_in_torch(name, x):
    """The same losses of the rows of x, in x's dtype, by log_softmax."""
    count = len(x) // 2
    rows = x / x.abs().amax(1, keepdim=True).detach()
    rows = rows / rows.norm(dim=1, keepdim=True)
    if name in ("nt_xent", "supcon_loss"):  # two views of each label: the same loss
        others = torch.eye(len(x), device=x.device, dtype=torch.bool)
        logits = (rows @ rows.T / 0.5).masked_fill(others, -torch.inf)
        numbers = torch.arange(len(x), device=x.device).roll(count)
        return torch.nn.functional.cross_entropy(logits, numbers)
    numbers = torch.arange(count, device=x.device)
    logits = rows[:count] @ rows[count:].T / 0.5
    sides = [logits, logits.T] if name == "clip_loss" else [logits]
    return sum(torch.nn.functional.cross_entropy(side, numbers) for side in sides) / len(sides)


@pytest.mark.parametrize("name", LOSSES)
def test_unit_vectors_as_they_are(device, small_tiles, name):  # noqa: F811
    loss, x = every_loss(9, device)[name], draw(18, 6, device=device)
    torch.testing.assert_close(loss(unit(x), normalize=False), loss(x), rtol=1e-5, atol=1e-6)
    assert (loss(x, normalize=False) - loss(x)).abs() > 0.1
    torch.testing.assert_close(loss(7 * x), loss(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_gradient_penalty_goes_through_the_lengths(device, small_tiles, name):  # noqa: F811
    """The second derivative against torch's."""
    x = draw(10, 5, device=device).requires_grad_()
    results = []
    for loss in (every_loss(5, device)[name], lambda x: every_loss_in_torch(name, x)):
        [gradient] = torch.autograd.grad(loss(x), x, create_graph=True)
        results.append(torch.autograd.grad(gradient.square().sum(), x)[0])
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_row_of_zeros_has_no_direction(device, small_tiles, name):  # noqa: F811
    """It is at right angles to everything, and hands on its gradient, as minissl.losses' do."""
    x = draw(10, 6, device=device)
    x[3] = 0
    leaf = x.requires_grad_()
    every_loss(5, device)[name](leaf).backward()
    assert leaf.grad.isfinite().all()
    assert leaf.grad[3].any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_an_element_that_is_not_finite_makes_its_row_so(device, value):
    x = draw(3, 4, device=device)
    x[1, 2] = value
    assert unit_rows(x).isnan().all(1).tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("name", LOSSES)
def test_a_temperature_of_one_element(device, small_tiles, name, shape, dtype):  # noqa: F811
    """Of any floating dtype and any shape: its gradient has both."""
    count = 5
    x, labels = draw(2 * count, 6, device=device), torch.arange(count, device=device).repeat(2)
    function = {"info_nce": info_nce, "nt_xent": nt_xent, "clip_loss": clip_loss}.get(name)
    inputs = (x[:count], x[count:]) if function else (x, labels)
    function = function or supcon_loss
    right = torch.tensor(0.5, device=device, requires_grad=True)
    function(*inputs, temperature=right).backward()
    tau = torch.full(shape, 0.5, dtype=dtype, device=device, requires_grad=True)
    function(*inputs, temperature=tau).backward()
    assert tau.grad.shape == shape
    torch.testing.assert_close(tau.grad.reshape(()), right.grad.to(dtype))


# ---- torch's own checks --------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", list(problems()))
def test_torch_compile(device, small_tiles, kind, normalize):  # noqa: F811
    torch.compiler.reset()  # one function for all kinds would be compiled too often
    problem = problems(rows=10, columns=12, device=device)[kind]
    tau = torch.tensor(0.5, device=device, requires_grad=True)
    embeddings = [e.requires_grad_() for e in problem.pop("embeddings")]
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    results = []
    for function in (ours, compiled):
        values = function(embeddings=embeddings, temperature=tau, normalize=normalize, **problem)
        g = draw(*values.shape, device=device)
        results.append([values, *torch.autograd.grad(values, [*embeddings, tau], g)])
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_torch_compile_takes_another_temperature(device, small_tiles):  # noqa: F811
    """A second number makes dynamo take the temperature as a symbol."""
    torch.compiler.reset()
    first, second = draw(5, 4, device=device), draw(5, 4, seed=1, device=device)
    compiled = torch.compile(
        lambda temperature: nt_xent(first, second, temperature), fullgraph=True, backend="aot_eager"
    )
    for temperature in (0.1, 0.2, 0.3):
        assert torch.equal(compiled(temperature), nt_xent(first, second, temperature))


@pytest.mark.parametrize("mode", ["targets", "two sides", "labels"])
def test_opcheck(device, small_tiles, mode):  # noqa: F811
    query = draw(5, 4, device=device).requires_grad_()
    key = draw(5, 4, seed=1, device=device).requires_grad_()
    labels = torch.tensor([1, 2, 0, 1, 3], device=device)
    tau = torch.tensor(0.5, device=device, requires_grad=True)
    labelled, both = mode == "labels", mode == "two sides"
    if both:
        labels = torch.arange(5, device=device)
    torch.library.opcheck(
        contrastive_losses.operator,
        (query, None if labelled else key, labels, tau, labelled, labelled, both, True, 5, True),
    )
    stats = torch.rand(3, 5, device=device)
    scale = torch.ones((), device=device)
    torch.library.opcheck(
        contrastive_gradient.operator,
        (query.detach(), key.detach(), labels, stats, stats if both else None, tau.detach(),
         scale, labelled, labelled, 5),
    )  # fmt: skip


def test_no_gradient_is_asked_for(device, small_tiles):  # noqa: F811
    x = draw(6, 4, device=device)
    assert not nt_xent(x, x, temperature=0.5).requires_grad
    with torch.no_grad():
        tau = torch.tensor(0.5, device=device, requires_grad=True)
        assert not nt_xent(x, x, temperature=tau).requires_grad


# ---- empty batches -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(problems()))
def test_empty_batches(device, kind):
    problem = problems(rows=1, device=device)[kind]
    embeddings = [e[:0].requires_grad_() for e in problem.pop("embeddings")]
    if kind == "info_nce, negatives":
        embeddings[2] = draw(3, 12, device=device).requires_grad_()
    options = {k: v[:0] if isinstance(v, torch.Tensor) else v for k, v in problem.items()}
    tau = torch.tensor(0.5, device=device, requires_grad=True)
    values = ours(embeddings=embeddings, temperature=tau, **options)
    assert values.shape == (() if kind == "clip_loss" else (0,))
    gradients = torch.autograd.grad(values.sum(), [*embeddings, tau])
    assert [g.shape for g in gradients] == [e.shape for e in [*embeddings, tau]]
    assert all(g.eq(0).all() for g in gradients)


def test_the_mean_over_nothing_is_zero(device):
    x = draw(0, 4, device=device)
    empty = torch.empty(0, dtype=torch.int64, device=device)
    for loss in (
        nt_xent(x, x, temperature=1),
        clip_loss(x, x, temperature=1),
        info_nce(x, draw(3, 4, device=device), empty),
        supcon_loss(x, empty, temperature=1),
    ):
        assert loss.item() == 0


# ---- wrong input ---------------------------------------------------------------------------------

X, Y = torch.zeros(4, 3), torch.zeros(6, 3)
NUMBERS = torch.arange(4)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: info_nce(X[0], Y), ValueError, r"\(rows, width\)"),
    (lambda: info_nce(X, torch.zeros(6, 2)), ValueError, r"key \(6, 2\)"),
    (lambda: info_nce(X, Y, negatives=Y[:, :2]), ValueError, r"negatives \(6, 2\)"),
    (lambda: info_nce(X, Y.half()), TypeError, "float16"),
    (lambda: info_nce(X.double(), Y.double()), TypeError, "float64"),
    (lambda: info_nce(Y, X), ValueError, "6 queries and 4 keys"),
    (lambda: info_nce(X, Y, NUMBERS[:3]), ValueError, r"targets must have shape .*\(4,\)"),
    (lambda: info_nce(X, Y, NUMBERS.float()), TypeError, "int32 or int64"),
    (lambda: info_nce(X, Y, NUMBERS + 3), IndexError, "0 to 5.*row 3"),
    (lambda: info_nce(X, Y, NUMBERS - 1), IndexError, "0 to 5.*row 0"),
    (lambda: info_nce(X, Y, NUMBERS + 2**32), IndexError, "0 to 5"),
    (lambda: info_nce(X, X, NUMBERS.clamp(min=1), exclude_self=True), ValueError, "self; row 1"),
    (lambda: info_nce(X, X, exclude_self=True), ValueError, "row itself"),
    (lambda: info_nce(X, Y, reduction="average"), ValueError, "'average'"),
    (lambda: info_nce(X, Y, temperature=0), ValueError, "positive and finite.*got 0"),
    *((lambda t=t: info_nce(X, Y, temperature=t), TypeError, "temperature must be a number")
      for t in ("0.1", None, [0.1])),
    (lambda: info_nce(X, Y, temperature=float("nan")), ValueError, "positive and finite.*got nan"),
    (lambda: info_nce(X, Y, temperature=float("inf")), ValueError, "positive and finite.*got inf"),
    (lambda: info_nce(X, Y, temperature=torch.tensor(-1.0)), ValueError, "positive"),
    *((lambda t=t: info_nce(X, Y, temperature=torch.tensor(t)), ValueError, "positive and finite")
      for t in (0.0, float("inf"), float("nan"))),
    (lambda: info_nce(X, Y, temperature=torch.ones(2)), TypeError, r"one element.*shape \(2,\)"),
    (lambda: info_nce(X, Y, temperature=torch.ones((), dtype=torch.int64)), TypeError, "int64"),
    (lambda: nt_xent(X, Y, temperature=1), ValueError, r"first \(4, 3\) and second \(6, 3\)"),
    (lambda: clip_loss(X, Y, temperature=1), ValueError, r"image \(4, 3\) and text \(6, 3\)"),
    (lambda: supcon_loss(X, NUMBERS[:2], temperature=1), ValueError, "labels must have shape"),
    (lambda: supcon_loss(X, X[:, 0], temperature=1), TypeError, "labels must be int32"),
])  # fmt: skip
def test_errors_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_device_without_triton(monkeypatch):
    monkeypatch.setattr(launch, "interpreted", lambda: False)
    for loss in (info_nce, nt_xent, clip_loss):
        with pytest.raises(RuntimeError, match=r"do not run on device 'cpu'.*TRITON_INTERPRET=1"):
            loss(X, X, temperature=1)


# ---- only a GPU is large enough ------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "width"), [(200_000, 256), (30_000, 768)])
def test_a_batch_whose_matrix_fits_nowhere(gpu_only, rows, width):
    """Some rows of losses and gradients against float64, and the memory of a line, not a square."""
    x = unit(draw(rows, width, device=gpu_only)).to(torch.bfloat16).requires_grad_()
    y = (unit(draw(rows, width, seed=1, device=gpu_only)) + x.detach() / 2).to(torch.bfloat16)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    losses = info_nce(x, y, temperature=0.05, reduction="none")
    weight = draw(rows, seed=2, device=gpu_only)
    [gradient] = torch.autograd.grad(losses, [x], weight)
    assert torch.cuda.max_memory_allocated() - before < 4 * rows * width * 2
    chosen = torch.tensor([0, 1, 127, 128, rows // 2, rows - 129, rows - 1], device=gpu_only)
    q, k = x.detach()[chosen].double(), y.double()
    logits = q @ k.T / 0.05
    expected = torch.nn.functional.cross_entropy(logits, chosen, reduction="none")
    torch.testing.assert_close(losses[chosen].double(), expected, rtol=1e-5, atol=1e-5)
    difference = logits.softmax(1)
    difference[torch.arange(len(chosen)), chosen] -= 1
    expected = weight[chosen, None] * (difference @ k) / 0.05
    error = (gradient[chosen].double() - expected).abs().max()
    assert error <= 2**-7 * expected.abs().max()


def test_unit_rows_are_rounded_once():
    """Of half precision too: the length is float32's, and the squares of 70,000 may be added up."""
    for rows in (draw(50, 33).half(), torch.full((1, 70_000), 0.5).half()):
        exact = rows.double() / rows.double().norm(dim=1, keepdim=True)
        assert torch.allclose(unit_rows(rows).double(), exact, rtol=2.0**-11 + 1e-5, atol=2.0**-25)

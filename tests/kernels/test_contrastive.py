"""InfoNCE, NT-Xent, CLIP's and the supervised contrastive loss against float64 and plain torch."""

import numpy as np
import pytest
import torch
from minissl_kernels import launch
from minissl_kernels.contrastive import clip_loss, info_nce, nt_xent, supcon_loss, tiles

from tests.kernels.contrastive_cases import (
    CHUNKED,
    SMALL,
    check,
    draw,
    exact,
    ours,
    plain,
    problems,
    run,
    whole,
)
from tests.kernels.cross_entropy_cases import far_apart_rows

KINDS = list(problems())
AS_THEY_ARE = {"temperature": 0.5, "normalize": False}
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture
def small_tiles(monkeypatch):
    """Many small tiles, so that few rows have blocks, edges and masks."""
    set_tiles(monkeypatch, SMALL)


def set_tiles(monkeypatch, configuration):
    monkeypatch.setattr(tiles, "forward_configuration", lambda dtype, width: configuration)
    monkeypatch.setattr(tiles, "gradient_configuration", lambda dtype, width: configuration)


# ---- the references themselves -------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_is_float64_torch(kind):
    problem = problems(rows=7, columns=9, width=5)[kind]
    tau = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    embeddings = [e.double().requires_grad_() for e in problem["embeddings"]]
    values = plain(**{**problem, "embeddings": embeddings}, temperature=tau)
    cotangent = draw(*values.shape, dtype=torch.float64)
    gradients = torch.autograd.grad(values, [*embeddings, tau], cotangent)
    expected, expected_gradients, slope = exact(cotangent.numpy(), temperature=0.4, **problem)
    np.testing.assert_allclose(expected, values.detach().numpy(), rtol=1e-12, atol=1e-12)
    for a, b in zip(gradients, [*expected_gradients, slope[0]]):
        np.testing.assert_allclose(b, a.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_has_the_slope_of_a_random_direction(kind):
    problem = problems(rows=7, columns=9, width=5)[kind]
    generator = np.random.default_rng(0)
    directions = [generator.standard_normal(e.shape) for e in problem["embeddings"]]
    cotangent = generator.standard_normal(exact(1.0, temperature=0.4, **problem)[0].shape)

    def value(step):
        moved = [e.double() + step * torch.from_numpy(d)
                 for e, d in zip(problem["embeddings"], directions)]  # fmt: skip
        losses, *_ = exact(cotangent, **{**problem, "embeddings": moved}, temperature=0.4 + step)
        return np.sum(losses * cotangent)

    _, gradients, slope = exact(cotangent, temperature=0.4, **problem)
    analytic = sum(np.sum(g * d) for g, d in zip(gradients, directions)) + slope[0]
    numeric = (value(1e-5) - value(-1e-5)) / 2e-5
    assert abs(analytic - numeric) <= 1e-6 * abs(analytic)


# ---- values and gradients ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients(device, small_tiles, kind, dtype):
    check(problems(dtype=dtype, device=device)[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_programs_in_the_other_order(device, small_tiles, reversed_programs, kind):
    check(problems(device=device)[kind])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["info_nce", "clip_loss", "supcon_loss"])
def test_the_shipped_tiles(device, kind, dtype):
    check(problems(rows=130, columns=132, width=136, dtype=dtype, device=device, scale=0.2)[kind])


@pytest.mark.parametrize("kind", ["info_nce, negatives", "nt_xent"])
def test_the_shipped_tiles_of_a_wide_embedding(device, kind):
    wide = problems(rows=67, width=300, dtype=torch.bfloat16, device=device, scale=0.2)
    check(wide[kind])


@pytest.mark.parametrize("width", [40, 260])
@pytest.mark.parametrize("gpu", ["ampere", "amd"])
def test_the_tiles_of_other_gpus(device, monkeypatch, gpu, width):
    monkeypatch.setattr(launch, "architecture", lambda: gpu)
    for dtype in (torch.float32, torch.bfloat16):
        check(problems(35, 70, width, dtype, device, 0.2)["clip_loss"])


@pytest.mark.parametrize("width", [1, 15, 16, 17, 31, 33, 64])
def test_widths(device, monkeypatch, width):
    """Whole and in chunks, with slices of the gradient; full and ragged."""
    set_tiles(monkeypatch, SMALL if width < 16 else CHUNKED)
    check(problems(rows=18, columns=35, width=width, device=device, scale=0.4)["info_nce"])
    check(problems(rows=18, width=width, device=device, scale=0.4)["clip_loss"])


@pytest.mark.parametrize(("rows", "columns"), [(1, 33), (33, 2), (2, 2), (16, 32)])
@pytest.mark.parametrize("kind", ["info_nce", "supcon_loss"])
def test_sizes(device, small_tiles, rows, columns, kind):
    check(problems(rows, columns, device=device)[kind])


@pytest.mark.parametrize("target", [0, 15, 16, 31, 32])
def test_positives_at_the_edges_of_tiles(device, small_tiles, target):
    """Masks are computed only in tiles that hold a positive of the block: these just do."""
    problem = problems(rows=18, columns=33, device=device)["info_nce"]
    check({**problem, "targets": torch.full((18,), target, device=device)})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("processors", [3, 64])
def test_keys_in_parts(device, monkeypatch, kind, processors):
    """Few queries and idle processors: several programs share the keys of a block."""
    set_tiles(monkeypatch, SMALL)
    monkeypatch.setattr(launch, "multiprocessors", lambda device: processors)
    check(problems(rows=18, columns=90, device=device)[kind])


# ---- properties ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equal_embeddings_have_the_level_of_chance(device, small_tiles, dtype):
    batch = 19
    x = draw(1, 8, dtype=dtype, device=device).expand(batch, 8)
    levels = {
        nt_xent(x, x, temperature=0.1): 2 * batch - 1,
        info_nce(x, x, temperature=0.1): batch,
        clip_loss(x, x, temperature=0.1): batch,
        supcon_loss(x, whole(0, 3, batch, device), temperature=0.1): batch - 1,
    }
    for loss, candidates in levels.items():
        assert abs(loss.item() - np.log(candidates)) < 1e-5


def test_a_single_pair_of_views_has_nothing_to_tell_apart(device):
    first, second = draw(1, 5, device=device), draw(1, 5, seed=1, device=device)
    for loss in (nt_xent, clip_loss):
        views = [first.clone().requires_grad_(), second.clone().requires_grad_()]
        value = loss(*views, temperature=0.01)
        value.backward()
        assert abs(value.item()) < 1e-6
        assert max(v.grad.abs().max().item() for v in views) < 1e-3  # of 100: rounding


@pytest.mark.parametrize("rows", [1, 33])
def test_a_single_key(device, small_tiles, rows):
    query, key = draw(rows, 5, device=device), draw(1, 5, seed=1, device=device)
    query.requires_grad_(), key.requires_grad_()
    targets = torch.zeros(rows, dtype=torch.int64, device=device)
    losses = info_nce(query, key, targets, reduction="none")
    losses.backward(draw(rows, seed=3, device=device))
    assert max(t.abs().max().item() for t in (losses, query.grad, key.grad)) < 1e-5


def test_a_row_with_its_positive_alone(device, small_tiles):
    x = draw(2, 4, device=device, scale=3).requires_grad_()
    targets = torch.tensor([1, 0], device=device)
    losses = info_nce(x, x, targets, exclude_self=True, reduction="none")
    losses.backward(draw(2, seed=3, device=device))
    assert losses.abs().max() < 1e-6
    assert x.grad.abs().max() < 1e-5


@pytest.mark.parametrize("count", [1, 18])
def test_supervised_rows_without_positives(device, small_tiles, count):
    """They have the loss 0, no gradient and no place in the mean, but the others see them."""
    x = draw(count, 6, device=device).requires_grad_()
    labels = torch.arange(count, device=device)
    loss = supcon_loss(x, labels, temperature=0.1)
    loss.backward()
    assert loss.item() == 0
    assert x.grad.eq(0).all()
    if count > 1:
        labels[3] = labels[5] = 99
        losses = supcon_loss(x, labels, temperature=0.1, reduction="none")
        assert losses.nonzero().flatten().tolist() == [3, 5]
        mean = supcon_loss(x, labels, temperature=0.1)
        torch.testing.assert_close(mean, losses.sum() / 2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_supervised_with_one_label(device, small_tiles, dtype):
    problem = problems(rows=21, dtype=dtype, device=device)["supcon_loss"]
    check({**problem, "labels": torch.full((21,), -1, device=device)})


def test_supervised_labels_beyond_32_bits(device, small_tiles):
    problem = problems(rows=21, device=device)["supcon_loss"]
    labels = problem["labels"] * 2**32  # equal in their lower 32 bits
    check({**problem, "labels": labels})
    check({**problem, "labels": problem["labels"].int()})
    check({**problem, "labels": labels.repeat_interleave(2)[::2]})


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("kind", ["info_nce", "nt_xent", "supcon_loss"])
def test_reductions(device, small_tiles, kind, reduction):
    problem = problems(rows=20, device=device)[kind]
    losses = ours(**problem, temperature=0.5)
    if kind == "supcon_loss":
        [x], labels = problem["embeddings"], problem["labels"]
        value = supcon_loss(x, labels, reduction=reduction, **AS_THEY_ARE)
        count = (losses != 0).sum()
    else:
        loss = info_nce if kind == "info_nce" else nt_xent
        targets = {"targets": problem["targets"]} if kind == "info_nce" else {}
        value = loss(*problem["embeddings"], reduction=reduction, **targets, **AS_THEY_ARE)
        count = len(losses)
    torch.testing.assert_close(value, losses.sum() / (count if reduction == "mean" else 1))


def test_clip_loss_is_the_mean_of_both_directions(device, small_tiles):
    image, text = draw(21, 6, device=device), draw(21, 6, seed=1, device=device)
    both = info_nce(image, text, temperature=0.3) + info_nce(text, image, temperature=0.3)
    torch.testing.assert_close(clip_loss(image, text, temperature=0.3), both / 2)


@pytest.mark.parametrize("exclude_self", [False, True])
def test_the_queries_as_keys(device, small_tiles, exclude_self):
    """One tensor twice gets both gradients, from tiles formed once."""
    x = draw(20, 6, device=device).requires_grad_()
    targets = (torch.arange(20, device=device) * 7 + 3) % 20
    copy = x.detach().clone().requires_grad_()
    gradients = []
    for key in (x, copy):
        losses = info_nce(x, key, targets, exclude_self=exclude_self, reduction="none")
        gradients.append(torch.autograd.grad(losses, list({x, key}), draw(20, device=device)))
    torch.testing.assert_close(gradients[0][0], sum(gradients[1]))


# ---- extreme values ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_small_temperature(device, small_tiles, kind, dtype):
    """Unit vectors, some of them twice, at 0.01: logits of 100 are e^100 before the maximum."""
    problem = problems(rows=20, columns=34, device=device)[kind]
    embeddings = [torch.nn.functional.normalize(e).to(dtype) for e in problem["embeddings"]]
    for e in embeddings:
        e[5] = e[3]
    check({**problem, "embeddings": embeddings}, temperature=0.01)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_large_embeddings(device, small_tiles, kind, dtype):
    """Logits of thousands, as from embeddings that nobody normalised."""
    check(problems(rows=20, columns=34, dtype=dtype, device=device, scale=30)[kind], 1.0)


@pytest.mark.parametrize("shift", [-3000.0, 3000.0])
def test_all_logits_far_from_zero(device, small_tiles, shift):
    """e^−3000 is 0 and e^3000 infinite, yet the loss knows only differences."""
    problem = problems(rows=20, columns=34, device=device)["info_nce"]
    query, key = (torch.cat([e, torch.ones_like(e[:, :1])], 1) for e in problem["embeddings"])
    key[:, -1] = shift
    # Twice the usual: the interpreter rounds s log₂e before it subtracts, a GPU's fma does not.
    check({**problem, "embeddings": [query, key]}, 1.0, factor=4)


def test_one_huge_logit(device, small_tiles):
    problem = problems(rows=20, columns=34, device=device)["info_nce"]
    query, key = problem["embeddings"]
    key[17] = query[4] * 1e6
    check({**problem, "embeddings": [query, key]}, 1.0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_confident_positive_keeps_its_gradient(device, small_tiles, dtype):
    """P − 1 where P is 0.999 must not be rounded like P: in bfloat16 that would be 1."""
    x = torch.nn.functional.normalize(draw(20, 32, device=device)).to(dtype)
    problem = {"loss": "info_nce", "embeddings": [x, x.clone()]}
    values = check(problem, temperature=0.1, factor=4)
    assert values.median() < 0.05


@pytest.mark.parametrize("size", [1e-30, 1e-7, 1e30])
@pytest.mark.parametrize("kind", ["info_nce", "nt_xent", "supcon_loss"])
def test_upstream_gradients_of_any_size(device, small_tiles, kind, size):
    problem = problems(rows=20, device=device)[kind]
    count = 40 if kind == "nt_xent" else 20
    check(problem, cotangent=size * draw(count, seed=7, device=device))


def test_small_coefficients_in_float16(device, small_tiles):
    """Half of a millionth, the second query's weight, is 9 steps of float16 above 0."""
    query = 40 * torch.eye(2, dtype=torch.float16, device=device)
    key = torch.eye(2, dtype=torch.float16, device=device).repeat_interleave(2, 0).requires_grad_()
    targets, weight = torch.tensor([0, 2], device=device), [1000.0, 1.1e-3]
    losses = info_nce(query, key, targets, normalize=False, reduction="none")
    losses.backward(torch.tensor(weight, device=device))
    expected = [-20 * weight[0], 20 * weight[0], -20 * weight[1], 20 * weight[1]]
    np.testing.assert_allclose(key.grad.sum(1).tolist(), expected, rtol=1e-3)


def test_an_upstream_gradient_of_zero(device, small_tiles):
    problem = problems(rows=20, device=device)["nt_xent"]
    _, gradients, slope, _ = run(ours, problem, 0.5, torch.zeros(40, device=device))
    assert all(g.eq(0).all() for g in [*gradients, slope])


# ---- layouts, determinism, memory ----------------------------------------------------------------


def test_views_that_are_not_contiguous_or_not_aligned(device, small_tiles):
    base = draw(40, 30, device=device, scale=0.5)
    for query in (base[1:20, 1:8], base[::2, 3:10], base[:19, ::4][:, :7], base.T[:19, :7],
                  base[:1, :7].expand(19, 7), base.flip(0)[:19, :7]):  # fmt: skip
        targets = whole(0, 38, 40, device)[::2][: len(query)]
        key = base[1:39, 2:9]
        check({"loss": "info_nce", "embeddings": [query, key], "targets": targets})
        check({"loss": "nt_xent", "embeddings": [query, query * 0.5 + 0.1]})


def test_rows_that_lie_far_apart(device):
    """Rows 2^25 elements apart, of which the 64th is 2^31 away: 32 bits cannot count so far."""
    query, key = (draw(65, 16, seed=s, device=device).half() for s in (0, 1))
    far = far_apart_rows(65, 32, 2**25, torch.float16, device).split(16, dim=1)
    results = []
    for rows in ((query, key), (far[0].copy_(query), far[1].copy_(key))):
        leaves = [row.detach().requires_grad_() for row in rows]
        losses = info_nce(*leaves, reduction="none")
        results.append([losses, *torch.autograd.grad(losses.sum(), leaves)])
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_targets_in_32_bits(device, small_tiles):
    problem = problems(rows=20, device=device)["info_nce"]
    check({**problem, "targets": problem["targets"].int()})


@pytest.mark.parametrize("kind", KINDS)
def test_twice_the_same_bits(device, monkeypatch, kind):
    set_tiles(monkeypatch, SMALL)
    monkeypatch.setattr(launch, "multiprocessors", lambda device: 20)
    problem = problems(rows=18, columns=60, device=device)[kind]
    embeddings = [e.requires_grad_() for e in problem["embeddings"]]
    tau = torch.tensor(0.3, device=device, requires_grad=True)
    losses = [ours(**problem, temperature=tau) for _ in range(2)]
    g = draw(*losses[0].shape, device=device)
    gradients = [
        torch.autograd.grad(loss, [*embeddings, tau], g, retain_graph=True)
        for loss in (losses[0], losses[0], losses[1])
    ]
    assert torch.equal(losses[0], losses[1])
    for other in gradients[1:]:
        assert all(torch.equal(a, b) for a, b in zip(gradients[0], other))


class Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """Remembers the most elements of any tensor made."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.note(torch.utils._pytree.tree_leaves(result))
        return result

    def note(self, values):
        for value in values:
            if isinstance(value, torch.Tensor):
                self.numel = max(self.numel, value.numel())


@pytest.mark.parametrize("kind", KINDS)
def test_no_tensor_grows_with_rows_times_columns(device, monkeypatch, kind):
    """Neither one that torch makes, nor one that a kernel is given to write to."""
    rows, width = 192, 4
    problem = problems(rows, 300, width, device=device)[kind]
    with Largest() as largest:
        for name in ("forward_kernel", "combine_kernel", "gradient_kernel"):
            recorder = Recorder(getattr(tiles, name), largest.note)
            monkeypatch.setattr(tiles, name, recorder)
        run(ours, problem, 0.5)
    assert 5 * rows <= largest.numel <= 12 * (2 * rows + 300) * width < rows * rows


class Recorder:
    """Stands for a kernel, and tells ``note`` the arguments of each launch."""

    def __init__(self, kernel, note):
        self.kernel, self.note = kernel, note

    def __getitem__(self, grid):
        def launch(*args, **options):
            self.note(args)
            self.kernel[grid](*args, **options)

        return launch


def test_only_asked_for_gradients_are_computed(device, small_tiles, monkeypatch):
    """MoCo: neither its keys nor its queue get gradients, so only the queries' kernel runs."""
    launches = []
    kernel = tiles.gradient_kernel
    monkeypatch.setattr(tiles, "gradient_kernel", Recorder(kernel, launches.append))
    problem = problems(rows=20, device=device)["info_nce, negatives"]
    query, key, negatives = problem["embeddings"]
    everything = run(ours, problem, 0.5)[1]
    assert len(launches) == 2
    for wanted in (["query"], ["key"], ["negatives"], ["query", "negatives"], ["key", "query"]):
        launches.clear()
        tensors = {"query": query.clone(), "key": key.clone(), "negatives": negatives.clone()}
        for name in wanted:
            tensors[name].requires_grad_()
        losses = info_nce(*list(tensors.values())[:2], negatives=tensors["negatives"],
                          reduction="none", **AS_THEY_ARE)  # fmt: skip
        losses.backward(draw(20, seed=99, device=device))
        for (name, tensor), expected in zip(tensors.items(), everything):
            if name in wanted:
                torch.testing.assert_close(tensor.grad, expected)
        assert len(launches) == ("query" in wanted) + (wanted != ["query"])


def test_the_temperature_alone_learns(device, small_tiles):
    problem = problems(rows=20, device=device)["clip_loss"]
    tau = torch.tensor(0.5, device=device, requires_grad=True)
    with_all = run(ours, problem, 0.5, torch.tensor(1.0, device=device))[2]
    clip_loss(*problem["embeddings"], temperature=tau, normalize=False).backward()
    torch.testing.assert_close(tau.grad, with_all)
    scale = torch.tensor(0.5, device=device).log().neg().requires_grad_()
    clip_loss(*problem["embeddings"], temperature=torch.exp(-scale), normalize=False).backward()
    torch.testing.assert_close(scale.grad, -0.5 * with_all)


def test_temperature_as_a_number(device, small_tiles):
    problem = problems(rows=20, device=device)["nt_xent"]
    tau = torch.tensor(0.25, device=device)
    assert torch.equal(ours(**problem, temperature=0.25), ours(**problem, temperature=tau))


@pytest.mark.parametrize(("blocks", "steps", "processors", "expected"), [
    (2, 512, 132, 64), (132, 512, 132, 1), (131, 512, 132, 1), (1000, 8, 132, 1), (1, 1, 132, 1),
    (1, 3, 132, 3), (160, 160, 132, 3), (1, 0, 4, 1),
])  # fmt: skip
def test_how_many_programs_share_the_keys(blocks, steps, processors, expected):
    from minissl_kernels.contrastive.operator import best_split

    assert best_split(blocks, steps, processors) == expected

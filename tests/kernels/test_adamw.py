"""The update of many arrays at once, against float64 NumPy and torch.optim.AdamW."""

import gc
import math
import weakref

import numpy as np
import pytest
import torch
from minissl_kernels import adamw as module
from minissl_kernels.adamw import BLOCK, adamw, gradient_norm, reference

from tests.kernels.compare import assert_as_accurate, float64

SHAPES = [(5,), (BLOCK + 3,), (2, BLOCK // 2), (1,), (0,), (BLOCK - 1,)]
SETTINGS = {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-6}


@pytest.fixture(autouse=True)
def sanitised():
    """The table holds addresses, which the sanitizer cannot know: ``guarded`` watches instead."""


def guarded(shape, device, dtype=torch.float32, offset=16):
    """Random values between two walls that must stay as they are."""
    size = math.prod(shape)
    room = torch.full((size + offset + 16,), 7.0, device=device, dtype=dtype)
    inside = room[offset : offset + size].view(shape)
    inside.copy_(torch.randn(shape, device=device))
    return room, inside


def make(device, dtype=torch.float32, shapes=SHAPES, offset=16):
    torch.manual_seed(0)
    rooms = [[guarded(shape, device, offset=offset) for shape in shapes] for _ in range(3)]
    parameters, first, second = [[inside for _, inside in row] for row in rooms]
    for v in second:
        v.square_()
    gradients = [torch.randn(shape, device=device).to(dtype) for shape in shapes]
    return parameters, gradients, first, second, [room for row in rooms for room in row]


def expected(arrays, steps, decays, **settings):
    columns = [[float64(x) for x in column] for column in arrays]
    rows = zip(*columns, steps, decays)
    return [reference(p, g, m, v, t, weight_decay=d, **settings) for p, g, m, v, t, d in rows]


@pytest.mark.parametrize("offset", [16, 3], ids=["aligned", "misaligned"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_every_array_is_updated_and_nothing_else(device, dtype, offset):
    *arrays, rooms = make(device, dtype, offset=offset)
    steps, decays = [1, 2, 3, 4, 5, 100], [0.1, 0.0, 0.2, 0.0, 0.3, 0.1]
    want = expected(arrays, steps, decays, **SETTINGS)
    norm = adamw(*arrays, steps=steps, weight_decays=decays, **SETTINGS)
    total = math.sqrt(sum((float64(g) ** 2).sum() for g in arrays[1]))
    assert norm.item() == pytest.approx(total, rel=1e-6)
    for row, (p, m, v) in zip(zip(arrays[0], arrays[2], arrays[3]), want):
        for ours, right in zip(row, (p, m, v)):
            assert_as_accurate(ours, right, torch.from_numpy(right).float().to(device), factor=4)
    for room, inside in rooms:
        size = inside.numel()
        walls = torch.cat([room[:offset], room[offset + size :]])
        assert torch.equal(walls, torch.full_like(walls, 7.0))


def test_many_steps_follow_torch(device):
    parameters, *_ = make(device)
    twins = [torch.nn.Parameter(p.clone()) for p in parameters]
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    optimizer = torch.optim.AdamW(twins, weight_decay=0.1, foreach=False, **SETTINGS)
    for step in range(1, 6):
        torch.manual_seed(step)
        gradients = [torch.randn_like(p) * 10**-step for p in parameters]
        for twin, gradient in zip(twins, gradients):
            twin.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_(twins, 0.5)
        optimizer.step()
        many = len(parameters)
        adamw(parameters, gradients, first, second, steps=[step] * many,
              weight_decays=[0.1] * many, max_norm=0.5, **SETTINGS)  # fmt: skip
    for ours, theirs in zip(parameters, twins):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("max_norm", [0.25, 1e9])
def test_clipping(device, max_norm):
    *arrays, _ = make(device)
    total = math.sqrt(sum((float64(g) ** 2).sum() for g in arrays[1]))
    scale = min(1.0, max_norm / total)
    many = len(arrays[0])
    want = expected(arrays, [2] * many, [0.0] * many, scale=scale, **SETTINGS)
    adamw(*arrays, steps=[2] * many, weight_decays=[0.0] * many, max_norm=max_norm, **SETTINGS)
    for ours, (_, m, _) in zip(arrays[2], want):
        assert np.allclose(float64(ours), m, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_update_that_is_not_finite_is_not_made(device, bad):
    *arrays, _ = make(device)
    arrays[1][2][1, 5] = bad
    before = [[x.clone() for x in column] for column in arrays]
    many = len(arrays[0])
    norm = adamw(*arrays, steps=[1] * many, weight_decays=[0.1] * many, **SETTINGS)
    assert not math.isfinite(norm.item())
    for i in (0, 2, 3):
        assert all(torch.equal(a, b) for a, b in zip(arrays[i], before[i]))


def test_the_norm_of_large_and_tiny_gradients(device):
    gradients = [torch.full((3 * BLOCK + 1,), 1e-12, device=device), torch.zeros(4, device=device)]
    wanted = math.sqrt(3 * BLOCK + 1) * 1e-12
    assert gradient_norm(gradients).item() == pytest.approx(wanted, rel=1e-6)
    gradients[1][3] = 1e15
    assert gradient_norm(gradients).item() == pytest.approx(1e15, rel=1e-6)


def test_the_same_bits_twice(device):
    results = []
    for _ in range(2):
        *arrays, _ = make(device, torch.bfloat16)
        many = len(arrays[0])
        adamw(*arrays, steps=[1] * many, weight_decays=[0.1] * many, max_norm=1.0, **SETTINGS)
        results.append(torch.cat([p.reshape(-1) for p in arrays[0]]))
    assert torch.equal(*results)


CPU = torch.device("cpu")


def test_large_arrays_are_cut_into_blocks():
    blocks = module.blocks_of((BLOCK, 1, 0, 2 * BLOCK + 1), CPU, 0)
    assert blocks.programs == 5
    assert blocks.sizes.tolist() == [BLOCK, 1, 0, 2 * BLOCK + 1]
    assert blocks.array_of.tolist() == [0, 1, 3, 3, 3]
    assert blocks.start_of.tolist() == [0, 0, 0, BLOCK, 2 * BLOCK]


def test_the_addresses_tell_whether_16_bytes_may_move_at_once():
    table, aligned = module.addresses_of(((16, 32), (48, 64)), CPU, 0)
    assert table.tolist() == [[16, 48], [32, 64]]
    assert table.is_contiguous()
    assert aligned
    assert not module.addresses_of(((16, 32), (48, 68)), CPU, 0)[1]


def steps_of(device, change=lambda arrays, step: None, count=3):
    """So many steps; ``change(arrays, step)`` before each. Each agrees with the reference."""
    *arrays, _ = make(device)
    many = len(arrays[0])
    for step in range(1, count + 1):
        change(arrays, step)
        want = expected(arrays, [step] * many, [0.1] * many, **SETTINGS)
        norm = gradient_norm(arrays[1])
        adamw(*arrays, steps=[step] * many, weight_decays=[0.1] * many, norm=norm, **SETTINGS)
        total = math.sqrt(sum((float64(g) ** 2).sum() for g in arrays[1]))
        assert norm.item() == pytest.approx(total, rel=1e-6)
        for row, (p, m, v) in zip(zip(arrays[0], arrays[2], arrays[3]), want):
            for ours, right in zip(row, (p, m, v)):
                assert np.allclose(float64(ours), right, rtol=1e-5, atol=1e-7)
    return arrays


@pytest.fixture
def sent(monkeypatch):
    """The tables that are sent to the device, none of which is kept from another test."""
    tables, send = [], module._send
    module.blocks_of.cache_clear(), module.addresses_of.cache_clear()
    monkeypatch.setattr(module, "_send", lambda t, device: tables.append(t) or send(t, device))
    return tables


def test_what_stays_is_sent_once(device, sent):
    """Three tables of blocks and two of addresses; then three rates for each array and step."""
    steps_of(device, count=4)
    assert len(sent) == 5 + 4
    assert [table.shape for table in sent[5:]] == 4 * [(len(SHAPES), 3)]


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize("row", [0, 1, 5])
def test_an_array_that_moved_is_found(device, column, row):
    """Before each step one is copied elsewhere, and what stood in its old place overwritten."""

    def change(arrays, step):
        old = arrays[column][row]
        arrays[column][row] = old.clone()
        old.fill_(1e6)
        if step == 3:  # and no longer at a multiple of 16 bytes
            old = arrays[column][0]
            arrays[column][0] = torch.empty(old.numel() + 1, device=device)[1:].copy_(old)

    steps_of(device, change, count=4)


def test_a_stream_has_tables_of_its_own():
    """What is sent in one stream may not have arrived yet when another one launches."""
    for table in (lambda s: module.blocks_of((4,), CPU, s),
                  lambda s: module.addresses_of(((16,),), CPU, s)):  # fmt: skip
        assert table(1) is table(1)
        assert table(1) is not table(2)


def test_the_tables_keep_no_array_alive(device):
    arrays = steps_of(device)
    watched = [weakref.ref(array) for column in arrays for array in column]
    del arrays
    gc.collect()
    assert all(array() is None for array in watched)


def test_wrong_things(device):
    *arrays, _ = make(device, shapes=[(3,), (2, 4)])
    right = {"steps": [1, 1], "weight_decays": [0.0, 0.0], "lr": 0.1}

    def call(change):
        lists = [list(column) for column in arrays]
        change(lists)
        adamw(*lists, **right)

    with pytest.raises(ValueError, match="no arrays"):
        gradient_norm([])
    with pytest.raises(ValueError, match="lists of one length"):
        call(lambda x: x[0].pop())
    with pytest.raises(ValueError, match=r"first moment 1 must be contiguous float32 \(2, 4\)"):
        call(lambda x: x[2].__setitem__(1, torch.zeros(8, device=device)))
    with pytest.raises(ValueError, match="parameter 0 must be contiguous float32"):
        call(lambda x: x[0].__setitem__(0, torch.zeros(3, device=device).bfloat16()))
    with pytest.raises(ValueError, match="gradient 1 is not contiguous"):
        call(lambda x: x[1].__setitem__(1, torch.zeros(4, 2, device=device).T))
    with pytest.raises(TypeError, match="the same for all"):
        call(lambda x: x[1].__setitem__(1, torch.zeros(2, 4, device=device).half()))
    with pytest.raises(ValueError, match="steps count from 1, got 0"):
        adamw(*arrays, steps=[1, 0], weight_decays=[0.0, 0.0], lr=0.1)

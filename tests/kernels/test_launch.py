"""The checks that every launcher shares: what is refused, and what the message says to do."""

from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from minissl_kernels import launch
from minissl_kernels.attention.tiles import hopper
from minissl_kernels.cross_entropy.reduction import check_targets
from triton.backends.compiler import GPUTarget

from tests.kernels.child import run


def test_cpu_tensors_without_the_interpreter():
    """As a user meets it: nothing set in the environment."""
    message = run(
        """
        import torch
        from minissl_kernels import launch
        assert not launch.interpreted()
        try:
            launch.check_device("attention", query=torch.zeros(2), key=None)
        except RuntimeError as error:
            print(error)
        """,
        CUDA_VISIBLE_DEVICES="",
    )
    assert "attention: Triton kernels do not run on device 'cpu'" in message
    assert "no GPU that torch can use" in message
    assert "set TRITON_INTERPRET=1 in the environment before Python starts" in message


def test_with_a_gpu_the_message_says_to_move_the_tensors(monkeypatch):
    monkeypatch.setattr(launch, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(RuntimeError, match=r"move the tensors there with \.to\('cuda'\), or set"):
        launch.check_device("attention", query=torch.zeros(2))


def test_interpreted_is_decided_when_triton_is_imported():
    """Set after the import, the variable changes nothing: the message above stays right."""
    code = """
        import os
        {before}
        import triton
        {after}
        from minissl_kernels import launch
        print(launch.interpreted())
        """
    turn_on = 'os.environ["TRITON_INTERPRET"] = "1"'
    assert run(code.format(before=turn_on, after="")).strip() == "True"
    assert run(code.format(before="", after=turn_on)).strip() == "False"


def test_triton_is_missing():
    message = run(
        """
        import sys
        sys.modules["triton"] = None  # as if it were not installed
        import minissl_kernels  # the package itself asks for nothing
        try:
            from minissl_kernels import launch
        except ImportError as error:
            print(error)
        """
    )
    assert "minissl_kernels needs triton" in message
    assert 'pip install "minissl[kernels]"' in message


def test_devices():
    here, elsewhere = torch.zeros(2), torch.zeros(2, device="meta")
    expected = "attention: all tensors must be on one device, got query on cpu, key on meta"
    with pytest.raises(RuntimeError, match=expected):
        launch.check_device("attention", query=here, bias=None, key=elsewhere)
    with pytest.raises(RuntimeError, match="do not run on device 'meta'"):
        launch.check_device("attention", query=elsewhere)
    if launch.interpreted():
        launch.check_device("attention", query=here, key=here, bias=None)


def test_runs_on():
    assert launch.runs_on(torch.device("cuda", 1))
    assert launch.runs_on(torch.device("cpu")) == launch.interpreted()
    assert not launch.runs_on(torch.device("meta"))


@pytest.mark.parametrize("dtype", launch.FLOATING, ids=str)
def test_dtypes_that_run(dtype):
    x = torch.zeros(2, dtype=dtype)
    launch.check_floating("layer_norm", x=x, weight=x, bias=None)


@pytest.mark.parametrize(
    ("x", "weight", "got"),
    [
        (torch.float64, torch.float64, "x torch.float64, weight torch.float64"),
        (torch.int64, torch.int64, "x torch.int64, weight torch.int64"),
        (torch.float32, torch.float16, "x torch.float32, weight torch.float16"),
        (torch.float32, torch.float64, "x torch.float32, weight torch.float64"),
        (torch.bool, torch.bool, "x torch.bool, weight torch.bool"),
    ],
)
def test_dtypes_that_do_not(x, weight, got):
    with pytest.raises(TypeError) as caught:
        launch.check_floating(
            "layer_norm", x=torch.zeros(2, dtype=x), weight=torch.zeros(2, dtype=weight), bias=None
        )
    assert str(caught.value) == (
        "layer_norm: expected float32, float16 or bfloat16, the same for all, "
        f"got {got}; convert with .to(dtype)"
    )


def test_shapes():
    x = torch.zeros(2, 3)
    launch.check_shape("layer_norm", "x", x, (2, 3), "(rows, width)")
    launch.check_shape("layer_norm", "x", x, x.shape, "(rows, width)")
    launch.check_shape("layer_norm", "x", torch.zeros(()), (), "()")
    for wrong in ((3, 2), (2,), (2, 3, 1), (6,)):
        with pytest.raises(ValueError, match="must have shape") as caught:
            launch.check_shape("layer_norm", "x", x, wrong, "(rows, width)")
        assert str(caught.value) == (
            f"layer_norm: x must have shape (rows, width) = {wrong}, got (2, 3)"
        )


def test_targets():
    check = check_targets
    check("cross_entropy", torch.tensor([0, 4, -100]), 5, -100)
    check("cross_entropy", torch.tensor([[0, 7], [3, 7]]), 5, 7)
    check("cross_entropy", torch.tensor([], dtype=torch.int64), 5, -100)
    for wrong, ignore in (([0, 5], -100), ([-1, 0], -100), ([-100, 1], -1), ([2, 2**40], -100)):
        bad = next(x for x in wrong if not 0 <= x < 5)
        with pytest.raises(IndexError) as caught:
            check("cross_entropy", torch.tensor(wrong), 5, ignore)
        assert str(caught.value) == (
            f"cross_entropy: target {bad} is not in 0 to 4, nor the ignore_index {ignore}"
        )


def test_targets_on_a_gpu_are_checked_without_waiting(gpu_only):
    """The bad target stops the program at the next synchronisation; the process is lost then."""
    message = run(
        """
        import torch
        from minissl_kernels.cross_entropy import cross_entropy
        logits = torch.zeros(2, 5, device="cuda")
        cross_entropy(logits, torch.tensor([1, 2]).cuda())
        torch.cuda.synchronize()
        cross_entropy(logits, torch.tensor([1, 5]).cuda())
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            print("stopped:", error)
        """
    )
    assert message.startswith("stopped:")


@pytest.mark.parametrize(
    ("backend", "arch", "expected"),
    [("cuda", 80, "ampere"), ("cuda", 89, "ampere"), ("cuda", 90, "hopper"),
     ("cuda", 100, "hopper"), ("cuda", 120, "ampere"), ("hip", "gfx942", "amd")],
)  # fmt: skip
def test_which_tiles_a_gpu_gets(monkeypatch, backend, arch, expected):
    """What compute capability 12.0 (a GeForce) has of shared memory is not a Hopper's."""
    active = SimpleNamespace(get_current_target=lambda: GPUTarget(backend, arch, 32))
    monkeypatch.setattr(launch.triton.runtime, "driver", SimpleNamespace(active=active))
    monkeypatch.setattr(launch, "interpreted", lambda: False)
    assert launch.architecture() == expected
    assert hopper() == (expected == "hopper")
    monkeypatch.setattr(launch, "interpreted", lambda: True)
    assert launch.architecture() == "hopper"


def test_the_current_device_is_set(monkeypatch):
    """A tensor on another GPU is launched there; on this one, or the CPU, nothing is done."""
    with launch.on_device(torch.zeros(1)):
        pass
    entered = []
    monkeypatch.setattr(torch.cuda, "device", entered.append)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    for number in (1, 2):
        launch.on_device(mock.Mock(device=torch.device("cuda", number)))
    assert entered == [torch.device("cuda", 2)]


def test_multiprocessors(device):
    count = launch.multiprocessors(device)
    assert count == 4 if device.type == "cpu" else count > 4


@pytest.mark.parametrize(("shape", "strides", "copied"), [
    ((65, 16), (16, 1), False), ((65, 16), (2**22 - 1, 1), False), ((65, 16), (2**22, 1), True),
    ((65, 16), (2**25, 1), True), ((65, 16), (0, 1), False), ((65, 16), (1, 65), True),
    ((65, 16), (32, 2), True), ((65, 1), (16, 7), False),
    ((2, 3, 65, 16), (16, 32, 2**25, 1), True), ((2, 3, 65, 16), (2**40, 2**35, 96, 1), False),
])  # fmt: skip
def test_rows_that_a_kernel_can_walk_along(shape, strides, copied):
    tensor = torch.empty_strided(shape, strides, device="meta")
    result = launch.walkable(tensor)
    assert result.is_contiguous() if copied else result is tensor


def test_dot_precision(monkeypatch):
    assert launch.dot_precision(torch.bfloat16) == "ieee"
    assert launch.dot_precision(torch.float16) == "ieee"
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert launch.dot_precision(torch.float32) == "ieee"


SWITCHES = {
    "": "tf32x3",
    'torch.set_float32_matmul_precision("high")': "tf32",
    'torch.set_float32_matmul_precision("medium")': "tf32",
    'torch.set_float32_matmul_precision("highest")': "tf32x3",
    "matmul.allow_tf32 = True": "tf32",
    "matmul.allow_tf32 = False": "tf32x3",
    'matmul.fp32_precision = "tf32"': "tf32",
    'matmul.fp32_precision = "ieee"': "tf32x3",
    'torch.backends.fp32_precision = "tf32"': "tf32",
    'torch.backends.fp32_precision = "ieee"': "tf32x3",
    'torch.backends.fp32_precision = "tf32"; matmul.fp32_precision = "ieee"': "tf32x3",
    'torch.backends.fp32_precision = "ieee"; matmul.fp32_precision = "tf32"': "tf32",
    'torch.set_float32_matmul_precision("high"); matmul.fp32_precision = "ieee"': "tf32x3",
    'matmul.fp32_precision = "tf32"; torch.set_float32_matmul_precision("highest")': "tf32x3",
    'matmul.fp32_precision = "ieee"; matmul.allow_tf32 = True': "tf32",
}


def test_every_switch_of_torch_is_obeyed():
    """torch >= 2.9 has new switches beside the old ones, whose getters raise when both are used.

    One process each: some of these states cannot be taken back.
    """
    begin = """
        import os
        import torch
        from minissl_kernels import launch
        torch.version.hip, matmul = None, torch.backends.cuda.matmul
        """
    each = """
        if os.fork() == 0:
            {}
            print(launch.dot_precision(torch.float32), flush=True)
            os._exit(0)
        os.wait()
        """
    answers = run(begin + "".join(each.format(switch or "pass") for switch in SWITCHES)).split()
    assert answers == list(SWITCHES.values())

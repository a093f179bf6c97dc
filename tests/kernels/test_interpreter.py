"""What Triton's interpreter cannot do is refused with advice: nobody gets nonsense from it."""

import pytest
import torch
from minissl_kernels import launch

from tests.kernels.child import run
from tests.kernels.every_function import CASES


@pytest.mark.parametrize(("triton", "numpy", "loops"), [
    ("3.6.0", "2.4.6", True), ("3.6.0", "2.4.0rc1", True), ("3.6.0", "2.3.5", False),
    ("3.6.0+git1", "2.10.0", True), ("3.6.0", "1.26.4", False), ("3.5.1", "3.0.0", True),
    ("3.7.0", "2.4.6", False), ("3.7.1", "2.4.6", False), ("3.9.0", "2.0.2", False),
    ("3.9.0", "2.4.6", False), ("3.10.0", "2.4.6", False), ("4.0.0", "3.0.0", False),
])  # fmt: skip
def test_which_versions_work(triton, numpy, loops):
    """Tried: triton 3.6 with NumPy 2.3 and 2.4, 3.7.1 with 2.4, 3.9 with 2.0 and 2.4."""
    faults = launch.interpreter_faults(triton, numpy)
    assert ("loops" in faults) == loops
    assert "use float32 or float16, or a GPU" in faults["bfloat16"]  # no version has it yet
    if loops:
        assert f"triton {triton} " in faults["loops"]
        assert f"NumPy {numpy}," in faults["loops"]
        assert 'install triton 3.7 or newer, or pip install "numpy<2.4"' in faults["loops"]


@pytest.fixture
def unrepaired(monkeypatch):
    """As for a user: the tests have repaired the interpreter."""
    if not launch.interpreted():
        pytest.skip("kernels are compiled here")
    return lambda *versions: monkeypatch.setattr(
        launch, "FAULTS", launch.interpreter_faults(*versions)
    )


@pytest.mark.parametrize("name", CASES)
def test_with_versions_that_do_not_work_nothing_runs(name, unrepaired):
    unrepaired("3.6.0", "2.4.0")
    case = CASES[name]
    with case.within(), pytest.raises(RuntimeError, match=r"install triton 3\.7 or newer"):
        case.call(**case.tensors("cpu"))


MULTIPLY = {"attention", "info_nce", "clip_loss", "nt_xent", "supcon_loss"}


@pytest.mark.parametrize("name", CASES)
def test_bfloat16_is_refused_where_kernels_multiply_matrices(name, unrepaired):
    unrepaired("3.9.0", "2.4.0")
    case = CASES[name]
    tensors = case.tensors("cpu", torch.bfloat16)
    tensors |= {label: tensors[label].float() for label in case.positive}
    with case.within():
        if case.function in MULTIPLY:
            with pytest.raises(RuntimeError, match=r"bfloat16.*use float32 or float16"):
                case.call(**tensors)
        else:
            exact = case.composed(**{label: tensor.double() for label, tensor in tensors.items()})
            ours = case.call(**tensors).double()
            assert (ours - exact).abs().max() <= 2**-6 * exact.abs().max()


def test_the_library_computes_without_kernels_where_they_are_refused(unrepaired):
    """Tensors of minissl on the device "torch": its own composition takes over."""
    from minissl.autograd.fused import gpu

    single, half = torch.ones(2), torch.ones(2, dtype=torch.bfloat16)
    assert gpu.runs_kernels(half)  # repaired
    unrepaired("3.9.0", "2.4.0")
    assert (gpu.runs_kernels(single), gpu.runs_kernels(half)) == (True, False)
    unrepaired("3.6.0", "2.4.0")
    assert not gpu.runs_kernels(single)


def test_a_gpu_has_neither_fault():
    code = "from minissl_kernels import launch; print(launch.FAULTS)"
    assert run(code).strip() == "{}"
    assert "bfloat16" in run(code, TRITON_INTERPRET="1")


def test_as_a_user_meets_it():
    """In a process of its own, which repairs nothing: ones attend to ones."""
    said = run(
        """
        import torch
        from minissl_kernels.attention import attention
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            x = torch.ones(1, 1, 4, 16, dtype=dtype)
            try:
                print(float(attention(x, x, x).float().mean()))
            except RuntimeError as error:
                print("refused" if "float" in str(error) or "install" in str(error) else error)
        """,
        TRITON_INTERPRET="1",
    ).split()
    assert said[-1] == "refused"
    assert said[:2] in (["1.0", "1.0"], ["refused", "refused"])

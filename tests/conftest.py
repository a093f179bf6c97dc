"""Kernels run in Triton's interpreter, on the CPU; with ``pytest -m gpu`` compiled, on the GPU."""

import contextlib
import importlib.util
import itertools
import os
import re
import warnings

import pytest
from _pytest.mark.expression import Expression

# Triton has wheels for Linux only; elsewhere the rest of the library is tested.
if importlib.util.find_spec("triton") is None:
    collect_ignore_glob = [
        "kernels",  # the folder: its conftest imports triton
        "benchmarks",
        "*/test_fused_on_gpu.py",
        "training/*devices.py",
    ]

# The first example of a process is drawn after hypothesis has read all imported sources, which on a
# busy machine takes seconds and says nothing about a test. A machine without it tests only kernels.
with contextlib.suppress(ModuleNotFoundError):
    import hypothesis

    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("busy", suppress_health_check=slow, deadline=None)
    hypothesis.settings.load_profile("busy")

LONG = (
    "test_every_launch_compiles_well", "tests/site/", "test_distributed", "tests/notebooks/",
    "test_killed_in_the_rows", "homework/test_proof", "test_damaged_files", "test_devices",
    "test_gpu_runs", "two_processes_on_a_slow_disk", "test_killed_at_every",
)  # fmt: skip


def wants_gpu(expression):
    """Whether ``-m EXPRESSION`` can choose a test because it is marked gpu."""
    others = set(re.findall(r"[\w:+.\[\]\\/-]+", expression)) - {"gpu", "and", "or", "not"}
    try:
        chooses = Expression.compile(expression).evaluate
    except Exception:  # of another class in each pytest, which says itself what is wrong
        return False
    for marked in itertools.product([False, True], repeat=len(others)):
        rest = dict(zip(others, marked))
        with_gpu, without = (
            chooses(lambda name, marks={**rest, "gpu": gpu}, **_: marks[name])
            for gpu in (True, False)
        )
        if with_gpu and not without:
            return True
    return False


def pytest_addoption(pluginmanager):
    """Choose how kernels run, before another conftest imports Triton, which asks only then.

    The hook comes directly after this file's import, and pytest has read ``-m`` from wherever it
    was given. Worker processes of xdist inherit the variable.
    """
    expression = pluginmanager.get_plugin("pytestconfig").known_args_namespace.markexpr
    os.environ.setdefault("TRITON_INTERPRET", "0" if wants_gpu(expression) else "1")


def pytest_configure(config):
    """Stop ``pytest -m gpu`` where it would not test compiled kernels."""
    wanted = wants_gpu(config.option.markexpr) and not config.option.collectonly
    if wanted and (reason := why_not_on_gpu()):
        raise pytest.UsageError(f"-m {config.option.markexpr!r} runs compiled kernels: {reason}")


def why_not_on_gpu():
    """A sentence, or None where kernels are compiled and a GPU can run them."""
    try:
        import torch
        from minissl_kernels.launch import interpreted
    except ImportError as error:
        return str(error)
    if interpreted():
        return (
            "here Triton is in its interpreter; unset TRITON_INTERPRET (it is "
            f"{os.environ['TRITON_INTERPRET']!r}) before Python starts"
        )
    with warnings.catch_warnings(action="ignore"):  # the answer counts
        there = torch.cuda.is_available()
    return None if there else "torch can use no GPU here; without -m gpu they are interpreted"


def has_gpu_tests(path):
    """Whether a test file can hold tests that are marked gpu."""
    return "kernels" in path.parts or "mark.gpu" in path.read_text(encoding="utf-8")


def pytest_ignore_collect(collection_path, config):
    """With ``-m gpu``, leave all other files alone: a rented GPU lacks what they import."""
    if collection_path.is_file() and wants_gpu(config.option.markexpr):
        return None if has_gpu_tests(collection_path) else True
    return None


def pytest_collection_modifyitems(items):
    """What takes long in one test begins first, so that the workers end together."""
    items.sort(key=lambda item: not any(part in item.nodeid for part in LONG))
    for item in items:
        if item.get_closest_marker("gpu") and not has_gpu_tests(item.path):
            raise pytest.UsageError(f"{item.nodeid}: mark the file, or -m gpu will not find it")

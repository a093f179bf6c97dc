"""Kernels run in Triton's interpreter, on the CPU; with ``pytest -m gpu`` compiled, on the GPU."""

import importlib.util
import os
import sys

# Triton reads the variable once, when it is imported. Worker processes of xdist inherit it.
on_gpu = "-m gpu" in " ".join(sys.argv)
os.environ.setdefault("TRITON_INTERPRET", "0" if on_gpu else "1")

# Triton has wheels for Linux only; elsewhere the rest of the library is tested.
if importlib.util.find_spec("triton") is None:
    collect_ignore_glob = [
        "kernels/*",
        "benchmarks/*",
        "*/test_fused_on_gpu.py",
        "training/*devices.py",
    ]


LONG = ("test_every_launch_compiles_well", "tests/site/", "test_distributed", "tests/notebooks/")


def pytest_collection_modifyitems(items):
    """What takes long in one test begins first, so that the workers end together."""
    items.sort(key=lambda item: not any(part in item.nodeid for part in LONG))

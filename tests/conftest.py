"""Kernels run in Triton's interpreter, on the CPU; with ``pytest -m gpu`` compiled, on the GPU."""

import os
import sys

# Triton reads the variable once, when it is imported. Worker processes of xdist inherit it.
on_gpu = "-m gpu" in " ".join(sys.argv)
os.environ.setdefault("TRITON_INTERPRET", "0" if on_gpu else "1")

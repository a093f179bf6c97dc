"""Every Triton kernel beside its peers, on one GPU: `python -m benchmarks.kernels --help`."""

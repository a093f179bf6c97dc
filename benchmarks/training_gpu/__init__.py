"""Whole training steps on one GPU, beside torch: `python -m benchmarks.training_gpu --help`."""

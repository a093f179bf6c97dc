"""All that a short visit to a GPU should bring: `python -m benchmarks.gpu_day --help`."""

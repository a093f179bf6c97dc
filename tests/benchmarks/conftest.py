"""A GPU that is not there, for what the benchmarks ask of one."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks.kernels.measure import Machine


class Event:
    """In place of a CUDA event: the number of its record."""

    recorded = 0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        Event.recorded += 1
        self.number = Event.recorded

    def elapsed_time(self, later):
        return 7.0 * (later.number - self.number)


@pytest.fixture
def imagined_gpu(monkeypatch):
    """What the benchmark asks of torch.cuda, answered without a GPU; tensors stay on the CPU."""
    properties = SimpleNamespace(
        name="NVIDIA H200", total_memory=150_000_000_000, multi_processor_count=132
    )
    answers = {
        "Event": Event, "synchronize": lambda: None, "empty_cache": lambda: None,
        "memory_allocated": lambda: 5_000_000_000, "reset_peak_memory_stats": lambda: None,
        "max_memory_allocated": lambda: 8_500_000_000, "is_available": lambda: True,
        "get_device_properties": lambda _: properties,
    }  # fmt: skip
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    machine = Machine(dry=True)
    machine.dry, machine._flushed = False, torch.zeros(4, dtype=torch.int8)
    return machine

"""Every method on generated data of its kind, small enough to be trained in a blink."""

from contextlib import contextmanager
from dataclasses import fields

import pytest

from minissl.pretrain import load_method

TINY = {
    "batch_size": 6, "steps": 3, "evaluations": 1, "vocab_size": 300, "num_layers": 1, "width": 16,
    "num_heads": 2, "context_length": 12, "features": 12, "embedding": 8,
    "image_size": 8, "channels": 1, "augmentation": "digits", "depth": 3,
    "classes_per_batch": 2,
}  # fmt: skip


def toy_settings(name, **changes):
    """The method's settings at sizes for tests; ``changes`` are those it has."""
    kind = load_method(name).Settings
    known = {one.name for one in fields(kind)}
    return kind(**{key: value for key, value in (TINY | changes).items() if key in known})


def toy_data(name, settings, seed=0):
    """Generated raw data of the method's kind."""
    return load_method(name).Data.toy(settings, seed=seed)


def toy_method(name, seed=0, **changes):
    """The method on its prepared toy data."""
    from minissl.data import Kept

    settings = toy_settings(name, **changes)
    data = toy_data(name, settings).prepare(Kept(), settings)
    return load_method(name).build(settings, data, seed=seed)


@contextmanager
def stopped_after(kind, batches):
    """Within this block the class is interrupted when it makes one batch more than these."""
    usual, left = kind.batch, iter(range(batches))

    def batch(self, generator, *number):
        if next(left, None) is None:
            raise InterruptedError
        return usual(self, generator, *number)

    kind.batch = batch
    try:
        with pytest.raises(InterruptedError):
            yield
    finally:
        kind.batch = usual

"""How a check compares: tolerances by dtype, differences that are printed, arguments that stay."""

import numpy as np
import pytest

from minissl.homework.outcome import run_check
from minissl.homework.task import TOLERANCES, Task, Wrong, call, expect, unwritten

VALUES = np.linspace(0.5, 2.0, 7)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_the_tolerance_follows_the_dtype(dtype):
    """A step of the dtype's own rounding passes; a hundred times the tolerance does not."""
    expected = VALUES.astype(dtype)
    rounded = np.nextafter(expected, np.array(3, dtype))
    expect(rounded, expected, given={})
    apart = (expected * (1 + 100 * TOLERANCES[dtype])).astype(dtype)
    with pytest.raises(Wrong):
        expect(apart, expected, given={})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_quotient_by_the_reciprocal_is_right(dtype):
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, 1000)).astype(dtype)
    expect(a * (1 / b), a / b, given={})


def test_integers_have_to_be_equal():
    with pytest.raises(Wrong):
        expect(np.array([1, 2]), np.array([1, 3]), given={})


def outcome_of(got, expected, tolerance=None):
    task = Task("9.1", "minissl.autograd.elementwise:exp", "toy", "lecture 02, section 1")

    def compared(subject, draw):
        """Equal."""
        expect(subject(), expected, given={}, tolerance=tolerance)

    task.check(1)(compared)
    return run_check(task, *task.checks, lambda: got, guarded=False)


def test_values_that_print_alike_show_their_difference():
    expected = np.array([0.084161, 1.0], np.float32)
    found = outcome_of(expected + np.array([0, 3e-5], np.float32), expected)
    assert found.case["got"] == found.case["expected"] or "difference" not in found.case
    alike = outcome_of(np.float32([0.0841612]), np.float32([0.084161]), tolerance=1e-9)
    assert alike.case["got"] == alike.case["expected"]
    assert alike.case["difference"].startswith("2")
    assert "at (0,)" in alike.case["difference"]
    assert "8.42e-11 is allowed" in alike.case["difference"]
    assert "difference" not in outcome_of(np.ones(2), np.zeros(2)).case


@pytest.mark.parametrize(
    "argument", [[1, 2, 3], {"a": 1}, [[1], [2]], np.ones(3), (np.zeros(2), [1])], ids=str
)
def test_what_was_handed_over_stays_as_it_was(argument):
    def spoil(value):
        first = value[0] if isinstance(value, tuple) else value
        if isinstance(first, dict):
            first["b"] = 2
        elif isinstance(first, list):
            first.pop()
        else:
            first[0] = 7

    with pytest.raises(Wrong, match="changed its input"):
        call(spoil, argument)
    call(lambda value: None, argument)


def test_errors_in_a_circle_end():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert unwritten(first) is None

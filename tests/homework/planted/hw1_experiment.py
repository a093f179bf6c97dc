"""Wrong answers to homework 1: the experiment and its report."""

import json

import numpy as np

from minissl.homework.assignments import hw1_experiment as ours
from minissl.homework.assignments.hw1_measured import experiment
from tests.homework.planted import Collection, HandedIn

PLANTED = Collection()
handed = HandedIn(experiment, "hw1")
FILES, ROWS, TEXT = handed.files, handed.rows, handed.text


# ---- the functions -------------------------------------------------------------------------------


def differences(
    forward=lambda f, x, h: (f(x + h) - f(x)) / h,
    central=lambda f, x, h: (f(x + h) - f(x - h)) / (2 * h),
    prepare=lambda x, h: (x, x.dtype.type(h)),
    finish=lambda answer, x: answer,
):
    """difference, with something to get wrong in it."""

    def difference(f, x, h, kind):
        formula = {"forward": forward, "central": central}[kind]
        return finish(formula(f, *prepare(x, h)), x)

    return difference


def in_float64(x, h):
    return x.astype(np.float64), h


def tables(
    relate=lambda found, true: np.abs(found - true) / np.abs(true), single=False, flip=False
):
    """errors, step by step, with something to get wrong in it."""

    def errors(f, df, x, steps, kind):
        true = df(x if single else x.astype(np.float64))
        given = sorted(steps) if flip else steps
        found = (ours.difference(f, x, h, kind).astype(np.float64) for h in given)
        return np.stack([relate(one, true) for one in found])

    return errors


def numbers(middle=np.median, factor=2, index=False, everywhere=False, usual=None):
    """summary, with something to get wrong in it."""

    def summary(table, steps):
        rows = [float(middle(row)) for row in table]
        best = rows.index(min(rows))
        at = min(range(len(steps)), key=lambda i: abs(steps[i] - 1e-3))
        return {
            "step": float(best) if index else float(steps[best]),
            "error": rows[best],
            "usual": rows[best if usual == "best" else at],
            "mistake": factor * float(np.max(table if everywhere else table[best])),
        }

    return summary


def measured(seed=lambda given: given, kind=None, dtype=None, change=lambda found: found):
    """measure, with something to get wrong in it."""

    def measure(number, own_kind, own_dtype):
        return change(ours.measure(seed(number), kind or own_kind, dtype or own_dtype))

    return measure


def differences_by_rows(f, x, h, kind):
    """difference of all points in one call of f."""
    h = np.asarray(h, x.dtype)
    ends = f(np.stack([x + h, x if kind == "forward" else x - h]))
    return -np.diff(ends, axis=0)[0] / (h if kind == "forward" else h + h)


def errors_at_once(f, df, x, steps, kind):
    """errors of all steps in one array."""
    true = df(np.float64(x))
    found = np.concatenate([differences_by_rows(f, x, h, kind)[None] for h in steps])
    return abs(found.astype(float) / true - 1)


def summary_by_sorting(table, steps):
    """summary from sorted rows."""
    medians = np.quantile(table, 0.5, axis=1)
    order = np.argsort(medians, kind="stable")
    at = sorted(range(len(steps)), key=lambda i: abs(steps[i] - ours.USUAL))[0]
    return {
        "mistake": 2 * max(table[order[0]].tolist()),
        "step": float(steps[order[0]]),
        "error": float(medians[order[0]]),
        "usual": float(medians[at]),
    }


COUNTED = iter(range(10**9))

for _mistake, _shows, _functions in [
    (
        "always forward",
        "of the other kind",
        {"difference": differences(central=lambda f, x, h: (f(x + h) - f(x)) / h)},
    ),
    (
        "divided by h alone",
        "divide by 2h",
        {"difference": differences(central=lambda f, x, h: (f(x + h) - f(x - h)) / h)},
    ),
    (
        "backward",
        "difference backward",
        {"difference": differences(forward=lambda f, x, h: (f(x) - f(x - h)) / h)},
    ),
    (
        "not divided",
        "not divided by the step",
        {"difference": differences(forward=lambda f, x, h: f(x + h) - f(x))},
    ),
    ("in float64", "f was asked in float64", {"difference": differences(prepare=in_float64)}),
    (
        "the answer in float64",
        "the dtype is float64",
        {"difference": differences(finish=lambda answer, x: answer.astype(np.float64))},
    ),
    (
        "a step that is never too small",
        "cannot tell x \\+ h from x",
        {"difference": differences(prepare=lambda x, h: (x, x.dtype.type(max(h, 1e-6))))},
    ),
    ("not relative", "not relative", {"errors": tables(lambda f, t: np.abs(f - t))}),
    ("with a sign", "has no sign", {"errors": tables(lambda f, t: (f - t) / np.abs(t))}),
    (
        "relative to the difference",
        "relative to the difference",
        {"errors": tables(lambda f, t: np.abs(f - t) / np.abs(f))},
    ),
    ("the true slope in float32", "asked in float64", {"errors": tables(single=True)}),
    ("steps are sorted", "wrong order", {"errors": tables(flip=True)}),
    ("means of errors", "the median is asked for", {"summary": numbers(middle=np.mean)}),
    ("the largest instead of medians", "'error' is wrong|median", {"summary": numbers(np.max)}),
    ("which step", "number of the best step", {"summary": numbers(index=True)}),
    ("once the largest error", "twice as much", {"summary": numbers(factor=1)}),
    ("of all steps", "only the best step", {"summary": numbers(everywhere=True)}),
    ("usual is best", "at the best step", {"summary": numbers(usual="best")}),
    ("always seed 0", "hand it on", {"measure": measured(seed=lambda given: 0)}),
    ("no seed", "same seed gave other", {"measure": measured(seed=lambda given: next(COUNTED))}),
    ("always central", "are kind and dtype used", {"measure": measured(kind="central")}),
    ("always float64", "are kind and dtype used", {"measure": measured(dtype="float64")}),
    (
        "a number too few",
        "four numbers",
        {"measure": measured(change=lambda found: {"step": found["step"]})},
    ),
    (
        "not a number",
        "no finite number",
        {"measure": measured(change=lambda found: {**found, "usual": float("nan")})},
    ),
    ("not there", "does not define the function", {"measure": None}),
]:
    PLANTED.add("1.10", _mistake, shows=_shows)(handed(**_functions))


# ---- the files -----------------------------------------------------------------------------------


def results(rows):
    """The right files with these rows."""
    return {**FILES, "results.json": json.dumps(rows).encode()}


for _mistake, _shows, _files in [
    ("no results", "there is no results.json", {"report.md": FILES["report.md"]}),
    ("one setting", "one setting compares nothing", results(ROWS[:3])),
    ("two seeds", "fewer than 3 seeds", results([row for row in ROWS if row["seed"] < 2])),
    (
        "one seed copied",
        "all seeds of",
        results([{**ROWS[3 * (i // 3)], "seed": i % 3} for i in range(12)]),
    ),
    ("a text for a number", "needs a number as 'step'", results([{**ROWS[0], "step": "small"}])),
    (
        "a setting is missing",
        "no row for the setting 'central, float32'",
        {**FILES, "report.md": TEXT.replace("| central, float32 |", "| half |").encode()},
    ),
    (
        "no plot",
        "shows no plot",
        {**FILES, "report.md": TEXT.replace("![", "[").encode()},
    ),
]:
    PLANTED.add("1.10", _mistake, shows=_shows)(handed(_files, measure=None))

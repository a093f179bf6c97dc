"""The two plans: hours that follow their rules and add up, nothing before what it needs."""

import math
import re
from functools import cache
from pathlib import Path

import pytest

from minissl.homework.assignments import assignment_numbers, load_assignment

ROOT = Path(__file__).parents[2]
LECTURES = {path.name[:2]: path for path in (ROOT / "lectures").glob("[0-9][0-9]_*.md")}
PLANS = ("Fourteen weeks", "Ten weeks")
ALONE = {"12": {"16"}}  # sections read without what they need, as the page says


@cache
def syllabus():
    return (ROOT / "docs" / "syllabus.md").read_text(encoding="utf-8")


def tables(heading):
    """The tables below a heading, each a list of rows without the first two lines."""
    part = re.split(r"^## ", syllabus().partition(f"## {heading}\n")[2], flags=re.MULTILINE)[0]
    found = re.findall(r"(?:^\|.*\n)+", part, flags=re.MULTILINE)
    return [
        [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()[2:]]
        for table in found
    ]


@cache
def sections(number):
    text = LECTURES[number].read_text(encoding="utf-8")
    return dict(re.findall(r"^## (\d+)\. (.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL))


def minutes(text):
    shown = text.count("```{source}") + text.count("```{claim}")
    return len(text.split()) / 100 + 2 * shown


def parts(read):
    """(lecture, its sections) of "02 §1–5; 03", where a lecture alone is all of it."""
    for part in read.split("; "):
        lecture, _, ranges = part.partition(" §")
        bounds = [r.split("–") for r in ranges.split(", ")] if ranges else []
        which = [str(n) for b in bounds for n in range(int(b[0]), int(b[-1]) + 1)]
        yield lecture, which


def reading_hours(read):
    whole = (
        [sections(lecture)[n] for n in which] or [LECTURES[lecture].read_text(encoding="utf-8")]
        for lecture, which in parts(read)
    )
    return sum(minutes(text) for texts in whole for text in texts) / 60


def home(number):
    return math.ceil(2 * (0.75 * len(load_assignment(number).tasks) + 2)) / 2


def weeks(heading):
    """(week, what is read, homeworks due, homeworks given out)."""
    for week, read, homework in tables(heading)[0]:
        due = [int(n) for n in re.findall(r"(\d) due", homework)]
        yield int(week), read, due, [int(n) for n in re.findall(r"(\d) out", homework)]


def test_hours_of_homework_follow_the_rule():
    (table,) = tables("How the hours are counted")
    assert [int(name[0]) for name, *_ in table] == assignment_numbers()
    for name, tasks, hours in table:
        number = int(name[0])
        assert int(tasks) == len(load_assignment(number).tasks)
        assert float(hours) == home(number)


@pytest.mark.parametrize("heading", PLANS)
def test_hours_follow_the_rules_and_add_up(heading):
    plan, hours = list(weeks(heading)), tables(heading)[1]
    assert len(hours) == len(plan) + 1 == {"Fourteen weeks": 15, "Ten weeks": 11}[heading]
    span = {n: [w for w, *_ in plan if w >= week] for week, _, _, out in plan for n in out}
    for week, _, due, _ in plan:
        for n in due:
            span[n] = [w for w in span[n] if w <= week]
    begun = set()
    for (week, read, due, _), row in zip(plan, hours):
        shown, reading, tried, at_home, everything, you = map(float, row)
        new = {lecture for lecture, _ in parts(read)} - begun
        begun |= new
        assert (shown, tried) == (week, len(new))
        assert reading == pytest.approx(reading_hours(read), abs=0.25)  # texts may change a little
        assert at_home == sum(home(n) / len(at) for n, at in span.items() if week in at)
        assert everything == 3 + reading + tried + at_home
        assert you == 7 + 3 * len(due)
    sums = [sum(float(row[i]) for row in hours[:-1]) for i in range(1, 6)]
    assert [float(cell) for cell in hours[-1][1:]] == sums
    assert sums[2] == sum(home(n) for n in span)
    assert f"{sums[3]:g} hours" in syllabus()


@pytest.mark.parametrize("heading", PLANS)
def test_nothing_comes_before_what_it_needs(heading):
    needs = {row[0][:2]: row[1] for row in tables("What needs what")[0]}
    assert needs.keys() == LECTURES.keys()
    read = {}
    for week, which, due, out in weeks(heading):
        for lecture, some in parts(which):
            some = some or list(sections(lecture))
            assert not read.get(lecture, set()) & {*some}, "twice"
            read.setdefault(lecture, set()).update(some)
        for lecture, some in parts(which):
            for clause in needs[lecture].split("; "):
                from_ = re.search(r"(?:from|for) §(\d+)", clause)
                exact = clause.startswith("for")
                asks = {int(n) for n in some or sections(lecture)} - set(
                    map(int, ALONE.get(lecture, ()))
                )
                if from_ and not any(
                    n == int(from_[1]) if exact else n >= int(from_[1]) for n in asks
                ):
                    continue
                for needed in re.findall(r"(?<!§)\b(\d\d)\b", clause):
                    assert needed in read, (heading, week, lecture, needed)
        for number in due:
            for task in load_assignment(number).parts:
                lecture, section = re.search(r"(\d\d), section (\d+)", task.lecture).groups()
                assert section in read[lecture], (heading, week, task.number)
        assert all(n in assignment_numbers() for n in out)
    if heading == "Fourteen weeks":  # all of every lecture but what is no lesson
        assert read.keys() == LECTURES.keys()
    else:
        assert LECTURES.keys() - read.keys() == {"04", "07"}
        assert all(f"Lecture {n}" in syllabus() for n in ("04", "07"))


def test_lectures_say_of_themselves_what_they_need():
    """Each number in the table stands in the lecture's own first paragraphs, or in lecture 00."""
    for lecture, needs, _ in tables("What needs what")[0]:
        head = LECTURES[lecture[:2]].read_text(encoding="utf-8").partition("\n## ")[0]
        for number in re.findall(r"(?<!§)\b(\d\d)\b", needs):
            assert number == "00" or number in head, (lecture, number)

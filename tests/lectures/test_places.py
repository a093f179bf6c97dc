"""What points into the lectures points at something."""

import re
from pathlib import Path

import pytest

from minissl.claims import claim_names, load_claim
from minissl.homework.assignments import assignment_numbers, load_assignment

ROOT = Path(__file__).parents[2]
LECTURES = {path.name[:2]: path.read_text("utf-8") for path in ROOT.glob("lectures/[0-9]*.md")}
SECTIONS = {
    number: re.findall(r"^## (\d+)\. ", text, flags=re.MULTILINE)
    for number, text in LECTURES.items()
}


@pytest.mark.parametrize("number", sorted(LECTURES))
def test_sections_are_numbered_in_order(number):
    assert SECTIONS[number] == [str(n + 1) for n in range(len(SECTIONS[number]))]
    assert len(SECTIONS[number]) >= 5


@pytest.mark.parametrize("homework", assignment_numbers())
def test_a_task_says_where_to_read(homework):
    for task in load_assignment(homework).tasks:
        place = re.fullmatch(r"lecture (\d\d), section (\d+)", task.lecture)
        assert place, f"{task.number}: {task.lecture!r}"
        assert place[2] in SECTIONS[place[1]], f"{task.number}: {task.lecture}"


@pytest.mark.parametrize("name", claim_names())
def test_a_claim_belongs_to_a_lecture_that_shows_it(name):
    lecture = load_claim(name).lecture[:2]
    assert f"```{{claim}} {name}\n" in LECTURES[lecture]


def test_lectures_show_all_kept_claims():
    kept = {path.stem for path in ROOT.glob("lectures/claims/*.json")}
    shown = set(re.findall(r"^```\{claim\} (\S+)$", "\n".join(LECTURES.values()), re.MULTILINE))
    assert shown == kept == set(claim_names())

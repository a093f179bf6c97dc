"""A check that changes is named in CHANGELOG.md: ``checks.json`` says which checks there are."""

import ast
import json

import pytest

from minissl.homework.assignments import load_assignment
from tests.homework import ledger

CHECK = '''
def even(subject, draw):
    """What a student reads."""
    for n in draw.cases(2, 4):  # both are even
        expect(call(subject, n), n % 2 == 0, given={"n": n})
'''


@pytest.fixture(scope="module")
def now():
    return ledger.ledger()


def test_every_change_of_a_check_is_in_the_changelog(now):
    found = ledger.changes(json.loads(ledger.LEDGER.read_text(encoding="utf-8")), now)
    assert not found, f"checks have changed ({'; '.join(found.values())}): {ledger.WHAT_TO_DO}"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (('"""What a student reads."""', '"""Other words."""'), True),
        (("  # both are even", ""), True),
        (("draw.cases(2, 4)", "draw.cases(\n        2, 4,\n    )"), True),
        (("cases(2, 4)", "cases(2, 6)"), False),
        (("n % 2 == 0", "n % 2 != 1"), False),
    ],
)
def test_words_and_form_of_a_check_are_no_change(change, same):
    assert CHECK.replace(*change) != CHECK
    one, other = (ledger.plain(ast.parse(text)) for text in (CHECK, CHECK.replace(*change)))
    assert (one == other) is same


def checks_after(changed_module, changed_name, before):
    """The rows that change with one definition, by task."""
    node = ledger.source(changed_module)[1][changed_name]
    node.body.append(ast.Pass())
    ledger.of_place.cache_clear()
    try:
        return ledger.changes(before, ledger.ledger())
    finally:
        node.body.pop()
        ledger.of_place.cache_clear()


def test_what_a_check_uses_belongs_to_it(now):
    """In another function, in another file, and where all tasks meet."""
    own = f"{ledger.ASSIGNMENTS}.hw1_measured"
    found = checks_after(own, "_cube", now)
    assert found.keys() == {"1.10"}
    assert "finite_differences" in found["1.10"]
    walks = f"{ledger.ASSIGNMENTS}.hw1_graphs"
    found = checks_after(walks, first_function(walks), now)
    assert found.keys() <= {task.number for task in load_assignment(1).parts}
    assert found
    assert checks_after("minissl.homework.task", "expect", now).keys() == {ledger.SHARED}
    assert checks_after("minissl.homework.guard", "Guard", now).keys() == {ledger.SHARED}


def first_function(module):
    return next(n for n, v in ledger.source(module)[1].items() if isinstance(v, ast.FunctionDef))


@pytest.mark.parametrize(
    ("number", "text", "new", "named"),
    [
        ("1.1", "Task 1.1 draws larger cases.", False, True),
        ("1.1", "Tasks 1.11 and 11.1, in version 0.1.1", False, False),
        ("1.1", "Every check draws larger cases.", False, True),
        ("9.2", "Homework 9: words.", True, True),
        ("9.2", "Homework 9: words.", False, False),
        (ledger.SHARED, "Task 1.1 draws larger cases.", False, False),
    ],
)
def test_what_names_a_task(number, text, new, named):
    assert bool(ledger.said(number, text, new)) is named


def test_the_command_refuses_until_the_changelog_says_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "checks.json")
    monkeypatch.setattr(ledger, "CHANGELOG", tmp_path / "CHANGELOG.md")
    rows = [
        {"1.1": {"values": "2: a", "order": "1: b"}},
        {"1.1": {"values": "3: a", "order": "1: b"}},
    ]
    ledger.LEDGER.write_text(json.dumps(rows[0]), encoding="utf-8")
    monkeypatch.setattr(ledger, "ledger", lambda: rows[1])
    ledger.CHANGELOG.write_text("# Changes\n\n## Unreleased\n\n## 0.1\n\n1.1\n", encoding="utf-8")
    assert "1.1: values. First say in a new line of CHANGELOG.md" in ledger.write()
    assert json.loads(ledger.LEDGER.read_text(encoding="utf-8")) == rows[0]
    ledger.CHANGELOG.write_text("# Changes\n\n## Unreleased\n\n- 1.1\n", encoding="utf-8")
    assert ledger.write() == 0
    kept = json.loads(ledger.LEDGER.read_text(encoding="utf-8"))
    assert kept.pop(ledger.TOLD)
    assert kept == rows[1]
    assert "changed rows of checks.json: 1.1: values" in capsys.readouterr().out
    rows[1] = rows[0]
    assert "not written" in ledger.write()  # the line is of the change before

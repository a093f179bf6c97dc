"""What a homework asks for stands open nowhere: not beside a lecture, in a notebook, in a file."""

import re
from html import unescape

import pytest

from minissl.homework.answers import among, graded, inside, written_by_hand
from minissl.homework.assignments import assignment_numbers, load_assignment
from minissl.places import find

pytestmark = pytest.mark.filterwarnings("ignore")


def spaceless(text):
    return re.sub(r"\s+", "", text)


def open_text(page):
    """What a page shows before anything is unfolded, without line numbers."""
    html = page.read_text("utf-8")
    parts = re.split(r"(<details\b[^>]*>|</details>)", html)
    depth, shown = 0, []
    for part in parts:
        if part.startswith("<details"):
            depth += 1
        elif part == "</details>":
            depth -= 1
        elif not depth:
            shown.append(part)
    text = re.sub(r'<a class="number"[^>]*>[^<]*</a>', "", "".join(shown))
    return spaceless(unescape(re.sub("<[^>]+>", "", text)))


def body(place):
    lines = place.path.read_text("utf-8").splitlines()
    return spaceless("".join(lines[place.body.start - 1 : place.body.stop - 1]))


def test_every_task_has_its_answer_here():
    tasks = [task for n in assignment_numbers() for task in load_assignment(n).parts]
    assert [one.task for one in graded()] == [task.number for task in tasks]
    for one in graded():
        assert one.place.first < one.place.body.start < one.place.body.stop == one.place.last + 1


def test_a_class_shows_the_answers_of_its_methods():
    method = find("minissl.text.tokenizer:Tokenizer.encode")
    tokenizer = find("minissl.text.tokenizer:Tokenizer")
    assert [one.label for one in inside(method)] == ["Tokenizer.encode"]
    assert {"Tokenizer.encode", "Tokenizer.decode"} <= {one.label for one in inside(tokenizer)}
    assert among(method.path, range(1, 2)) == []


def test_answers_written_by_hand_are_known_by_name_or_mark():
    def tasks(code):
        return [one.task for one in written_by_hand(code)]

    assert tasks("def divide(a, b, /):\n    return a * b**-1") == ["1.1"]
    assert tasks("class Tokenizer:\n    def encode(self, text): ...") == ["2.7"]
    assert tasks("def learn(counts):  # answers 2.3\n    ...") == ["2.3"]
    assert tasks("divide(1, 2)") == tasks("this is no Python") == []


def test_no_answer_stands_open_on_a_page(site):
    pages = {page: open_text(page) for page in site.rglob("*.html")}
    bodies = {one.task: body(one.place) for one in graded()}
    open_ = [
        f"{page.relative_to(site)} shows {task}"
        for page, text in pages.items()
        for task, code in bodies.items()
        if code in text
    ]
    assert open_ == []
    lecture = (site / "lectures" / "02_autograd.html").read_text("utf-8")
    assert "Try first: homework 1, task 1.8 (walk_back)</summary>" in lecture
    notebook = (site / "notebooks" / "03_subwords.html").read_text("utf-8")
    assert "An answer. Try first: homework 2, task 2.3" in notebook

"""Lectures read away from the repository: what is shown, where links lead, what is written."""

import ast
import io
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from minissl import course
from minissl.cli import main
from minissl.cli._pages import source, to_files, to_read
from minissl.homework.answers import graded
from minissl.homework.assignments import assignment_numbers, load_assignment
from minissl.homework.scoreboard import where_to_read
from minissl.homework.source import experiment_file, student_file
from minissl.homework.starter import handout

ROOT = Path(__file__).parents[2]
PAGES = course.pages()
NOT_IN_A_WHEEL = re.compile(r"\b(lectures|notebooks|docs)/\w")
PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def call(*arguments):
    return main([str(argument) for argument in arguments])


def spaceless(text):
    return re.sub(r"\s+", "", text)


@PAGE
def test_nothing_is_left_that_only_the_site_or_the_repository_could_show(page):
    shown = to_read(page, page.text)
    assert shown.startswith(page.text.splitlines()[0])
    prose = re.sub(r"^```.*?^```$|`[^`]*`", "", shown, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"\{source\}|\{claim\}|</?details|</?summary", prose)
    assert all("://" in link for link in re.findall(r"\]\(([^)\s]+)\)", prose))
    text = re.sub(r"<details>.*?</details>", "", page.text, flags=re.DOTALL)
    assert shown.count("\n```") == text.count("\n```") - 2 * text.count("\n```{claim}")
    figures = re.findall(r"^    (/.+\.svg)$", shown, flags=re.MULTILINE)
    assert len(figures) == page.text.count("![") + page.text.count("```{claim}")
    assert all(Path(figure).is_file() and ".." not in figure for figure in figures)


@cache
def bodies():
    """The answers of all homeworks, by their tasks."""
    found = {}
    for one in graded():
        lines = one.place.path.read_text("utf-8").splitlines()
        found[one.title] = spaceless("".join(lines[n - 1] for n in one.place.body))
    return found


@PAGE
def test_no_answer_of_a_homework_is_shown(page):
    written = to_files([page])[page.path.relative_to(ROOT).as_posix()].decode()
    shown, written = spaceless(to_read(page, page.text)), spaceless(written)
    for title, body in bodies().items():
        assert body not in shown, title
        assert body not in written, title


def test_questions_come_without_their_answers_unless_these_are_asked_for(capsys):
    question, answer = (
        "Show that the perplexity of the best model of a fair die is 6",
        "If a side with",
    )
    assert call("lecture", "05") == 0
    alone = capsys.readouterr().out
    assert f"\n**2. {question}" in alone
    assert answer not in alone
    assert alone.splitlines()[-2] == "[The questions are answered with --answers]"
    assert call("lecture", "05", "--answers") == 0
    both = capsys.readouterr().out
    assert alone.count("\n**") == both.count("\n**")
    assert both.index(question) < both.index(answer) < both.index("**3. Your causal model")
    assert "details" not in both
    assert "--answers" not in both


def test_an_answer_is_left_to_the_reader_and_its_head_stays(capsys):
    shown = source("minissl.text.tokenizer:Tokenizer")
    assert "\n        # yours to write: homework 2, task 2.7 (Tokenizer.encode)\n" in shown
    assert "\n    def encode(\n" in shown
    assert "def train(" in shown  # what no task asks for stands whole
    assert call("lecture", "02") == 0
    said = capsys.readouterr().out
    assert "    # yours to write: homework 1, task 1.8 (walk_back)\n```" in said


def test_a_docstring_may_stay_away():
    whole = source("minissl.losses.contrastive:info_nce")
    short = source("minissl.losses.contrastive:info_nce", without_docstring=True)
    assert '"""' in whole
    assert '"""' not in short
    place = re.match(r"# (minissl/losses/contrastive\.py):(\d+)\n", short)
    lines = (ROOT / place[1]).read_text("utf-8").splitlines()
    assert lines[int(place[2]) - 1].startswith("def info_nce(")


def test_a_claim_is_shown_with_its_verdict_and_its_numbers(capsys):
    assert call("lecture", "kernels", "--section", 2) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("## 2. Counting the traffic of attention\n")
    assert "\n## " not in shown
    assert "\n**Verdict: reproduced.**\n" in shown
    assert f"\n    {ROOT / 'lectures/claims/attention-memory.svg'}\n" in shown
    assert "| one tile at a time          | 0.618 " in shown
    assert all(len(line) <= 100 or line.startswith("|") for line in shown.splitlines())


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("7", "07_kernels"), ("07", "07_kernels"), ("kernels", "07_kernels"),
        ("07_kernels.md", "07_kernels"), ("GPT", "10_gpt"), ("Word vectors", "04_word_vectors"),
        ("transformer", "06_attention_and_the_transformer"), ("errata", "appendix_errata"),
        ("notation", "notation"), ("instructor-guide", "instructor_guide"),
        ("quiz 7", "07"), ("quiz-07", "07"),
    ],
)  # fmt: skip
def test_a_page_has_several_names(name, stem, capsys):
    assert call("lecture", name, "--where") == 0
    assert Path(capsys.readouterr().out.strip()).stem == stem


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["99"], "there is no lecture '99'; choose one of: 00, 01,"),
        (["../README"], "there is no lecture '../README'; choose one of"),
        (["and"], "'and' may be several: 06_attention_and_the_transformer, 08_encoders_and"),
        (["7", "--section", "40"], "there is no section 40 in 07_kernels: it has 1 to 12"),
        (["data", "--section", "1"], "there is no section 1 in data: it has no numbered ones"),
        (["--out", "x"], "--out of which lecture?"),
        (["--section", "2"], "--section of which lecture?"),
        (["7", "--out", "x", "--where"], "choose one of them"),
        (["all"], "only with --out"),
    ],
)
def test_what_is_wrong_is_said(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("lecture", *words) == 1
    assert said in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_the_list_has_every_lecture_with_its_title(capsys):
    assert call("lecture") == 0
    listed = capsys.readouterr().out
    for path in sorted((ROOT / "lectures").glob("[0-9]*.md")):
        title = path.read_text("utf-8").splitlines()[0].partition(" · ")[2]
        assert re.search(rf"^  {path.name[:2]} +{re.escape(title)}$", listed, re.MULTILINE)


def test_somebody_who_looks_gets_a_pager(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    seen = []
    monkeypatch.setattr("pydoc.pager", seen.append)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert call("lecture", "notation") == 0
    assert seen[0].startswith("# How things are written\n")
    assert sys.stdout.getvalue() == ""


def test_what_is_written_needs_nothing_else(tmp_path, capsys):
    assert call("lecture", "all", "--out", tmp_path) == 0
    files = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert f"written: {len(files)} files below {tmp_path}" in capsys.readouterr().out
    for page in PAGES:
        path = tmp_path / page.path.relative_to(ROOT)
        text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
        assert all((path.parent / link).is_file() for link in links)
        assert text.count("![") == page.text.count("![") + page.text.count("```{claim}")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        assert (tmp_path / "notebooks" / path.name).read_bytes() == path.read_bytes()


def test_what_was_changed_is_not_overwritten_and_nothing_else_is_written(tmp_path, capsys):
    assert call("lecture", "12", "--out", tmp_path) == 0
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert call("lecture", "12", "--out", tmp_path) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    lecture = tmp_path / "lectures" / "12_contrastive_learning.md"
    lecture.write_text("my notes", encoding="utf-8")
    next(tmp_path.rglob("12_pairs.svg")).unlink()
    assert call("lecture", "all", "--out", tmp_path) == 1
    assert f"{lecture} is there already and differs" in capsys.readouterr().err
    assert lecture.read_text("utf-8") == "my notes"
    assert {path for path in tmp_path.rglob("*") if path.is_file()} < {*kept}


@pytest.mark.parametrize("number", assignment_numbers())
def test_a_homework_sends_its_readers_to_sections_that_are_shown(number):
    assignment = load_assignment(number)
    texts = [handout(assignment), student_file(assignment), experiment_file(assignment.experiment)]
    texts += [f"{where_to_read(task)} {task.unwritten}" for task in assignment.parts]
    for text in texts:
        assert not NOT_IN_A_WHEEL.search(text)
    said = re.findall(r"minissl lecture (\d\d) --section (\d+)", " ".join(texts))
    assert len(said) >= 3 * len(assignment.parts) - 1
    for name, section in set(said):
        shown = course.section_of(course.find_page(name), int(section))
        assert shown.startswith(f"## {section}. ")


def test_no_message_speaks_of_a_folder_that_a_wheel_has_not():
    """Docstrings are read beside the source; everything else that is a string may be printed."""
    for file in [*(ROOT / "minissl").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")]:
        if file.name in ("course.py", "lecture.py", "_pages.py"):  # which look into the folders
            continue
        tree = ast.parse(file.read_text("utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = NOT_IN_A_WHEEL.search(node.value)
                assert not found or id(node) in docstrings, f"{file}: {node.value}"


# What a page of a package index shows of a README.
README = """# Title

![A picture](docs/picture.svg)

[![Badge](https://example.org/badge.svg)](https://example.org) [One](lectures/07_kernels.md),
[a `kernel`](kernels/minissl_kernels), [two
lines](docs/data.md#names), [play](notebooks/07_kernels.ipynb),
[1](minissl/homework/handouts/hw1.md),
[above](#title), [all](lectures/index.md) and `rows[0](x)`.

```python
rows[0](x)
```
"""


def test_links_away_from_the_repository():
    assert (
        course.unlinked(README)
        == """# Title



[![Badge](https://example.org/badge.svg)](https://example.org) One (`minissl lecture 07`),
a `kernel`, two
lines (`minissl lecture data`), play (`minissl lecture 07 --out FOLDER`),
1 (`minissl homework start 1`),
above, all (`minissl lecture`) and `rows[0](x)`.

```python
rows[0](x)
```
"""
    )


def test_links_with_an_address_for_the_repository():
    linked = course.unlinked(README, repository="https://example.org/us/it/")
    for part in (
        "![A picture](https://example.org/us/it/raw/HEAD/docs/picture.svg)",
        "[One](https://example.org/us/it/blob/HEAD/lectures/07_kernels.md)",
        "[two\nlines](https://example.org/us/it/blob/HEAD/docs/data.md#names)",
        "[above](https://example.org/us/it#title)",
        "`rows[0](x)`",
    ):
        assert part in linked


def test_commands_that_stand_for_links_show_what_was_linked():
    for page in PAGES:
        command = course.command_for(page.path.relative_to(ROOT).as_posix())
        assert course.find_page(command.removeprefix("minissl lecture ")) == page
    for path in ROOT.glob("notebooks/*.ipynb"):
        command = course.command_for(f"notebooks/{path.name}").split()
        assert command[3:] == ["--out", "FOLDER"]
        assert course.find_page(command[2]).notebook == path
    for number in assignment_numbers():
        link = f"minissl/homework/handouts/hw{number}.md"
        assert course.command_for(link) == f"minissl homework start {number}"
    assert course.command_for("lectures/index.md") == "minissl lecture"
    assert course.command_for("benchmarks/results/kernels.md") == ""

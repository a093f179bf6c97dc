"""A class as learning platforms export it: every submission has a row, nothing is lost unsaid."""

import csv
import os
import zipfile

import pytest

from minissl.cli import main
from minissl.homework.archive import unpack
from minissl.homework.class_folder import opened, submissions
from minissl.homework.names import parse
from tests.homework.submissions import DIVIDE, IMPORTS, ONE, write


def zipped(path, **files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_py", ".py"), content)
    return path


def graded(folder):
    """place -> its notes, and what is ignored."""
    found, ignored = submissions(ONE, folder)
    return {one.place.name: one.notes for one in found}, ignored


@pytest.mark.parametrize(
    ("name", "student", "file", "tries"),
    [
        ("doejohn_12345_67890_hw1.py", "doejohn_12345", "hw1.py", (0, 0, 67890)),
        ("doejohn_LATE_12345_67891_hw1-2.py", "doejohn_12345", "hw1.py", (2, 1, 67891)),
        ("Jane Doe_77_assignsubmission_file_hw1.py", "Jane Doe_77", "hw1.py", (0, 0, 0)),
        ("alice (2).py", "alice", "alice.py", (2, 0, 0)),
        ("hw1_late.py", "hw1", "hw1.py", (0, 1, 0)),
        ("hw1-2.py", "hw1", "hw1.py", (2, 0, 0)),
        ("alice_hw1_v3.py", "alice_hw1", "alice_hw1.py", (3, 0, 0)),
        ("team-2.py", "team-2", "team-2.py", (0, 0, 0)),  # no second try of "team"
    ],
)
def test_names_of_platforms(name, student, file, tries):
    parsed = parse(name)
    assert (parsed.student, parsed.file, parsed.tries) == (student, file, tries)


def test_of_several_tries_the_latest_is_taken_and_the_others_are_named(tmp_path):
    for name in ("doe_1_10_hw1.py", "doe_1_12_hw1-2.py", "doe_LATE_1_11_hw1-1.py", "doe_1_9_x.txt"):
        write(tmp_path, "", name)
    write(tmp_path, "", "team-1.py")
    write(tmp_path, "", "team-2.py")
    write(tmp_path, "", ".DS_Store")
    write(tmp_path, "", "Bob/hw1.py")
    zipped(tmp_path / "Bob.zip", hw1_py="")
    write(tmp_path, "", "b ob.py")
    found, ignored = graded(tmp_path)
    assert list(found) == [
        "Bob",
        "Bob.zip",
        "b ob.py",
        "doe_1_12_hw1-2.py",
        "team-1.py",
        "team-2.py",
    ]
    (note,) = found["doe_1_12_hw1-2.py"]
    assert "doe_1_10_hw1.py" in note
    assert "doe_LATE_1_11_hw1-1.py" in note
    assert "which one is meant?" in found["Bob"][0]
    assert "another spelling of Bob" in found["b ob.py"][0]
    assert ignored == [".DS_Store"]


def test_what_is_taken_from_a_folder_or_an_archive(tmp_path):
    write(tmp_path, "one", "class/alice/hw1.py")
    write(tmp_path, "two", "class/alice/hw1 (1).py")
    zipped(tmp_path / "class" / "bob.zip", bob__hw1_py="three", bob__help_py="x = 1")
    (tmp_path / "class" / "carol").mkdir()
    zipped(tmp_path / "class" / "carol" / "work.zip", hw1_py="four")
    write(tmp_path, "five", "class/doe_1_10_hw1.py")
    write(tmp_path, "six", "class/doe_1_11_report.md")
    found, _ = submissions(ONE, tmp_path / "class")
    taken = {one.place.name: opened(ONE, one) for one in found}
    texts = {name: handin.files[handin.name] for name, (handin, _) in taken.items()}
    assert [*texts.values()] == [b"two", b"three", b"four", b"five"]
    assert taken["alice"][1] == ["earlier, not graded: hw1.py"]
    assert "help.py" in taken["bob.zip"][0].files
    assert taken["doe_1_10_hw1.py"][0].files["report.md"] == b"six"


def test_archives_are_not_believed(tmp_path):
    bad = zipped(tmp_path / "bad.zip", **{"..__out_py": "x", "__abs_py": "x", "ok_py": "x"})
    with zipfile.ZipFile(bad, "a") as archive:
        link = zipfile.ZipInfo("link.py")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    (tmp_path / "to").mkdir()
    left_out = unpack(bad, tmp_path / "to")
    assert len(left_out) == 3
    assert [path.name for path in (tmp_path / "to").rglob("*")] == ["ok.py"]
    assert not (tmp_path / "out.py").exists()
    with pytest.raises(ValueError, match="have more than"):
        unpack(zipped(tmp_path / "bomb.zip", hw1_py=bytes(65 << 20)), tmp_path / "to")
    (tmp_path / "no.zip").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"no\.zip is no \.zip, or damaged"):
        unpack(tmp_path / "no.zip", tmp_path / "to")


def test_every_row_and_every_zero_has_its_reason(tmp_path, capsys):
    """Odd names, an empty file, half a character, another kind of file; arguments in any order."""
    folder = tmp_path / "class"
    write(tmp_path, "", "class/empty.py")
    write(tmp_path, "raise ValueError('\\ud800' * 3)", "class/half.py")
    write(tmp_path, f"{IMPORTS}{DIVIDE}", "class/zoe.py")
    write(tmp_path, "", "class/work.ipynb")
    write(tmp_path, "", "class/=1+1/nothing.txt")
    os.makedirs(os.fsencode(folder) + b"/na\xffme")
    table = folder / "grades.csv"
    arguments = ["homework", "grade", "--csv", str(table), "1", "--extra-shapes", "0", str(folder)]
    assert main(arguments) == 0
    text = table.read_text(encoding="utf-8")
    rows = {row["submission"]: row for row in csv.DictReader(text.splitlines())}
    assert len(rows) == 6
    assert str(tmp_path) not in text  # comments go to students, through a gradebook
    assert all(row["comment"] for row in rows.values())
    assert rows["empty.py"]["comment"] == "empty.py is empty"
    assert r"ValueError: \ud800" in rows["half.py"]["comment"]
    assert rows["zoe.py"]["score"] == "8"
    assert "does not define unbroadcast" in rows["zoe.py"]["comment"]
    assert "is not a folder, a .py file or a .zip" in rows["work.ipynb"]["comment"]
    assert rows["'=1+1"]["score"] == "0"
    assert r"na\xffme" in rows
    seed = rows["zoe.py"]["seed"]
    assert f"--seed {seed} repeats" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "ignored: grades.csv" in capsys.readouterr().out


def test_a_table_that_cannot_be_written_is_told_first(tmp_path, capsys):
    write(tmp_path, "", "class/alice.py")
    table = tmp_path / "nowhere" / "grades.csv"
    assert main(["homework", "grade", "1", str(tmp_path / "class"), "--csv", str(table)]) == 1
    shown = capsys.readouterr()
    assert f"there is no folder {table.parent}" in shown.err
    assert "seed" not in shown.out

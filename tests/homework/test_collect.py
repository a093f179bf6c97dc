"""A class as learning platforms export it: every submission has a row, nothing is lost unsaid."""

import csv
import os
import zipfile

from minissl.cli import main
from minissl.homework.collect import submissions
from tests.homework.submissions import DIVIDE, IMPORTS, ONE, write


def zipped(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def collected(folder):
    found, ignored = submissions(ONE, folder)
    return {one.name: one for one in found}, ignored


def test_the_latest_try_is_taken_and_the_others_are_named(tmp_path):
    write(tmp_path, "one", "alice/hw1.py")
    write(tmp_path, "two", "alice/hw1 (1).py")
    write(tmp_path, "three", "bea/hw1_late.py")
    zipped(tmp_path / "bob.zip", {"bob/hw1.py": "four", "bob/hw1-2.py": "five", "bob/help.py": ""})
    zipped(tmp_path / "Carol Roe_77_assignsubmission_file_" / "work.zip", {"hw1.py": "six"})
    for name in ("doe_1_10_hw1.py", "doe_1_12_hw1-2.py", "doe_LATE_1_11_hw1-1.py"):
        write(tmp_path, name, name)
    write(tmp_path, "seven", "doe_1_13_report.md")
    write(tmp_path, "", "Bob/hw1.py")
    write(tmp_path, "", ".DS_Store")
    write(tmp_path, "", "team-1.py")
    write(tmp_path, "", "team-2.py")
    found, ignored = collected(tmp_path)
    assert [*found] == ["Bob", "Carol Roe", "alice", "bea", "bob", "doe", "team-1.py", "team-2.py"]
    files = {name: one.handin.files for name, one in found.items()}
    taken = [files[name]["hw1.py"] for name in ("alice", "bea", "bob", "Carol Roe", "doe")]
    assert taken == [b"two", b"three", b"five", b"six", b"doe_1_12_hw1-2.py"]
    assert "help.py" in files["bob"]
    assert files["doe"]["report.md"] == b"seven"
    assert found["alice"].note == "not looked at: hw1.py"
    assert "hw1.py" in found["bob"].note
    assert "is 'Bob' the same student?" in found["bob"].note
    assert "hw1.py" in found["doe"].note
    assert ignored == [".DS_Store"]


def test_no_archive_and_no_link_costs_more_than_its_row(tmp_path):
    zipped(tmp_path / "out.zip", {"../out.py": "x", "hw1.py": ""})
    zipped(tmp_path / "bomb.zip", {"hw1.py": bytes(65 << 20)})
    write(tmp_path, "PK nothing", "none.zip")
    damaged = zipped(tmp_path / "damaged.zip", {"hw1.py": os.urandom(5000)})
    data = bytearray(damaged.read_bytes())
    data[60:2000] = bytes(1940)
    damaged.write_bytes(data)
    link = zipped(tmp_path / "link.zip", {"hw1.txt": ""})
    with zipfile.ZipFile(link, "a") as archive:
        info = zipfile.ZipInfo("hw1.py")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    write(tmp_path, "", "class/zoe.py")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "hw1.py").symlink_to(tmp_path / "class" / "zoe.py")
    found, _ = collected(tmp_path)
    for name in ("out", "bomb", "none", "damaged", "link", "copy"):
        (one,) = [one for one in found.values() if one.name.removesuffix(".zip") == name]
        assert one.handin is None, name
        assert one.problem, name


def test_every_row_and_every_zero_has_its_reason(tmp_path, capsys):
    """Odd names, an empty file, half a character; arguments in any order; a seed of its own."""
    folder = tmp_path / "class"
    write(tmp_path, "", "class/empty.py")
    write(tmp_path, "raise ValueError('\\ud800' * 3)", "class/half.py")
    write(tmp_path, f"{IMPORTS}{DIVIDE}", "class/zoe.py")
    write(tmp_path, "", "class/work.ipynb")
    write(tmp_path, "", "class/=1+1/nothing.txt")
    os.makedirs(os.fsencode(folder) + b"/na\xffme")
    (folder / ("名" * 85)).mkdir()
    table, details = folder / "grades.csv", tmp_path / "details"
    arguments = ["homework", "grade", "--csv", str(table), "1", "--extra-shapes", "0", str(folder)]
    assert main([*arguments, "--details", str(details)]) == 0
    rows = {r["submission"]: r for r in csv.DictReader(table.read_text("utf-8").splitlines())}
    assert len(rows) == len([*details.iterdir()]) == 6
    assert all(row["comment"] for row in rows.values())
    assert rows["empty.py"]["comment"] == "empty.py is empty"
    assert r"ValueError: \ud800" in rows["half.py"]["comment"]
    assert rows["zoe.py"]["score"] == "8"
    assert "does not define unbroadcast" in rows["zoe.py"]["comment"]
    assert rows["'=1+1"]["score"] == "0"
    shown = capsys.readouterr().out
    assert rows["zoe.py"]["seed"] in shown
    assert "work.ipynb" in shown

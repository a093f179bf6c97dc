"""Exports of Canvas, Moodle and Gradescope, made by hand: graded, and the points taken back.

The forms are those that the platforms' own programs write (Canvas's and Moodle's are public); the
names are as they make them of a student's name. What a table must hold is written out here.
"""

import csv
import io
import zipfile
from dataclasses import replace

import pytest

from minissl.cli import main
from minissl.homework.class_folder import opened, submissions
from minissl.homework.gradebook import read_gradebook
from minissl.homework.names import parse
from tests.homework.submissions import DIVIDE, IMPORTS, ONE

RIGHT = IMPORTS + DIVIDE  # 8 points of task 1.1
WRONG = RIGHT.replace("-g * a", "g * a")  # the sign of one of the two gradients
EMPTY = "\n"


@pytest.fixture(autouse=True)
def one_task(monkeypatch):
    """Homework 1 with its first task: a hand-in then takes half a second in place of five."""
    short = replace(ONE, tasks=ONE.tasks[:1], experiment=None)
    monkeypatch.setattr("minissl.homework.assignments.load_assignment", lambda number: short)


def exported(folder, name, files):
    """A zip as it is downloaded, unpacked as the guide says."""
    archive = folder / name
    with zipfile.ZipFile(archive, "w") as zipped:
        for path, text in files.items():
            zipped.writestr(path, text)
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(folder / "submissions")
    return folder / "submissions"


def grade(folder, table, *options):
    arguments = ["homework", "grade", "1", str(folder), "--csv", str(table), *options]
    code = main([*arguments, "--extra-shapes", "0", "--seed", "0"])
    return code, {row["submission"]: row for row in rows_of(table)} if table.exists() else {}


def rows_of(path, delimiter=","):
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig")), delimiter=delimiter))


# ---- Canvas --------------------------------------------------------------------------------------

CANVAS = {
    "obrienseán_101_9001_hw1.py": RIGHT,
    "müllerjürgen_LATE_102_9002_hw1.py": WRONG,
    "doejane_103_9003_hw1.py": EMPTY,
    "doejane_103_9004_hw1-1.py": RIGHT,
    "doejane_104_9005_hw1.py": WRONG,  # another student of this name
    "doejane_104_9006_report.md": "# What I saw\n",
    "vandenbergan_105_9007_my homework.py": RIGHT,  # renamed
    "li_wei_107_9008_hw1.py": RIGHT,  # an underscore in the name
    "cmd_108_9009_hw1.py": RIGHT,  # is called =cmd
    "gastgeorg_109_9010_hw1.py": RIGHT,  # left the course: not in the gradebook
    "excusedeva_110_9011_hw1.py": RIGHT,
    "typertim_111_text.html": "<p>def divide</p>",  # typed into the page
    "onesgroup_112_9012_hw1.py": RIGHT,  # a group: the number is Ada's
}
GRADEBOOK = """\
Student,ID,SIS User ID,SIS Login ID,Section,Homework 1 (55),Homework 10 (56),Current Score,Notes
,,,,,Manual Posting,,,
    Points Possible,,,,,86.00,100.00,(read only),
"O'Brien, Seán",101,s1,sob,A,,,0,
"Müller, Jürgen",102,s2,jmu,A,,7,0,
"Doe, Jane",103,s3,jdo,A,,,0,
"Doe, Jane",104,s4,jdo2,B,3,,0,
"van den Berg, An",105,s5,avb,A,,,0,"-was ill"
"Missing, Max",106,s6,mmi,A,,,0,
"Li_, Wei",107,s7,lwe,A,,,0,
=cmd,108,s8,@sum,A,,,0,
"Excused, Eva",110,s10,eex,A,EX,,0,
"Typer, Tim",111,s11,tty,A,,,0,
"Lovelace, Ada",112,s12,ada,A,,,0,
"Student, Test",113,,x,A,,,0,
"""


def test_canvas(tmp_path, capsys):
    folder = exported(tmp_path, "submissions.zip", CANVAS)
    export = tmp_path / "2026-11-29_Grades-SSL.csv"
    export.write_text(GRADEBOOK, encoding="utf-8")
    code, rows = grade(folder, tmp_path / "grades.csv", "--gradebook", str(export))
    assert code == 0
    assert len(rows) == 11
    assert {name: row["1.1"] for name, row in rows.items() if row["1.1"] != "8"} == {
        "müllerjürgen_LATE_102_9002_hw1.py": rows["doejane_104_9005_hw1.py"]["1.1"],
        "doejane_104_9005_hw1.py": rows["doejane_104_9005_hw1.py"]["1.1"],
        "typertim_111_text.html": "0",
    }
    wrong = rows["doejane_104_9005_hw1.py"]["score"]
    assert 0 < int(wrong) < 8
    assert (
        "earlier, not graded: doejane_103_9003_hw1.py"
        in rows["doejane_103_9004_hw1-1.py"]["comment"]
    )

    filled = rows_of(tmp_path / "2026-11-29_Grades-SSL-filled.csv")
    assert [*filled[0]] == [
        "Student",
        "ID",
        "SIS User ID",
        "SIS Login ID",
        "Section",
        "Homework 1 (55)",
    ]
    points = {row["ID"]: row["Homework 1 (55)"] for row in filled}
    assert points == {
        "": "86.00", "101": "8", "102": wrong, "103": "8", "104": wrong, "105": "8", "106": "",
        "107": "8", "108": "8", "110": "EX", "111": "", "112": "", "113": "",
    }  # fmt: skip
    assert filled[0]["Homework 1 (55)"] == "Manual Posting"
    by_id = {row["ID"]: row for row in filled}
    assert (by_id["108"]["Student"], by_id["108"]["SIS Login ID"]) == ("'=cmd", "'@sum")
    assert export.read_text("utf-8") == GRADEBOOK  # the export is as it was
    said = capsys.readouterr().out
    for line in (
        "not filled in: gastgeorg_109_9010_hw1.py (no such student)",
        "not filled in: typertim_111_text.html (no such student)",
        "not filled in: onesgroup_112_9012_hw1.py (no such student)",
        "not filled in: excusedeva_110_9011_hw1.py (it says EX there)",
        "nothing handed in: Missing, Max; Typer, Tim; Lovelace, Ada; Student, Test",
        "-filled.csv, for Canvas",
    ):
        assert line in said


def test_canvas_without_names_and_its_columns(tmp_path):
    """Anonymous grading has a code in place of the number: one row for all files of a student."""
    parsed = parse("LATE_anon_aB3xY_9001_hw1-2.py")
    assert (parsed.student, parsed.file, parsed.tries) == ("anon_aB3xY", "hw1.py", (2, 1, 9001))
    assert parse("anon_aB3xY_9002_report.md").student == "anon_aB3xY"
    export = tmp_path / "g.csv"

    def book(text, **named):
        export.write_text(text, encoding="utf-8")
        return read_gradebook(export, 1, **named)

    german = GRADEBOOK.replace(",", ";").replace("; ", ", ")
    assert book(german).delimiter == ";"
    assert book(german).header[book(german).column] == "Homework 1 (55)"
    assert book("\ufeff" + GRADEBOOK).filled([])[0].decode("utf-8")[0] == "\ufeff"
    two = GRADEBOOK.replace("Homework 10", "HW 01")
    with pytest.raises(
        ValueError, match=r"g\.csv cannot be .* --column .*Homework 1 \(55\), HW 01"
    ):
        book(two)
    assert book(two, column="HW 01").column == 6
    assert book(two, column="Homework 1 (55)").column == 5
    for wrong in ("", "a,b\n1,2\n", GRADEBOOK + "1,2\n"):
        with pytest.raises(ValueError, match=r"g\.csv cannot be read as a gradebook: .* Export"):
            book(wrong)


def test_canvas_adds_a_number_to_every_file_of_a_second_try(tmp_path):
    """Also to the experiment and its report, which the checker wants by their own names."""
    names = {
        "doejane_103_11_report.md": "old",
        "doejane_103_9_hw1.py": EMPTY,
        "doejane_103_12_hw1-1.py": RIGHT,
        "doejane_103_13_experiment-1.py": "new",
        "doejane_103_14_report-1.md": "new",
        "doejane_103_15_step-2.png": "a plot",
        "doejane_103_8_experiment.py": "old",
    }
    ((one,), _) = submissions(ONE, exported(tmp_path, "submissions.zip", names))
    handin, _ = opened(ONE, one)
    texts = {name: content.decode() for name, content in handin.files.items()}
    assert texts["hw1.py"] == RIGHT
    assert texts["experiment.py"] == texts["report.md"] == "new"
    assert texts["step-2.png"] == "a plot"


# ---- Moodle --------------------------------------------------------------------------------------

MOODLE = {
    "Seán OBrien_7001_assignsubmission_file/hw1.py": RIGHT,  # Moodle takes the apostrophe away
    "Jürgen Müller_7002_assignsubmission_file_/hw1 (1).py": WRONG,  # an older Moodle
    "Jane Doe_7003_assignsubmission_onlinetext/onlinetext.html": "<p>I am late, sorry</p>",
    "Jane Doe_7003_assignsubmission_file/hw1/hw1.py": RIGHT,  # she handed in the folder
    "Jane Doe_7004_assignsubmission_file/mine.py": RIGHT,  # another student, a renamed file
    "Eve_7005_assignsubmission_file_hw1.py": RIGHT,  # "download in folders" switched off
    "Eve_7005_assignsubmission_file_report.md": "# What I saw\n",
    "Max Other_7006_assignsubmission_file/hw1.py": RIGHT,  # of another worksheet: 7006 is Mia
    "Lea Locked_7007_assignsubmission_file/hw1.py": RIGHT,
    "Participant_7008_assignsubmission_file/hw1.py": EMPTY,
}
WORKSHEET = """\
Identifier,Full name,Email address,Status,Grade,Maximum grade,Grade can be changed,Last modified \
(grade),Feedback comments
Participant 7001,Seán O'Brien,s@x,Submitted for grading - ,,86.00,Yes,-,
Participant 7002,Jürgen Müller,j@x,Submitted for grading - 1 day late,,86.00,Yes,-,=ask me
Participant 7003,Jane Doe,jd@x,Submitted for grading - ,,86.00,Yes,-,
Participant 7004,Jane Doe,jd2@x,Submitted for grading - ,,86.00,Yes,-,
Participant 7005,Eve,e@x,Submitted for grading - ,,86.00,Yes,-,
Participant 7006,Mia Other,m@x,No submission,,86.00,Yes,-,
Participant 7007,Lea Locked,l@x,Submitted for grading - ,70.00,86.00,No,"Friday, 27 November 2026",
Participant 7008,Blind Bo,b@x,Submitted for grading - ,,86.00,Yes,-,
Participant 7009,No Body,n@x,No submission,,86.00,Yes,-,
"""


def test_moodle(tmp_path, capsys):
    folder = exported(tmp_path, "SSL-Homework 1-99.zip", MOODLE)
    export = folder / "Grades-SSL-Homework 1-99.csv"  # in the folder itself: not a hand-in
    export.write_text("\ufeff" + WORKSHEET, encoding="utf-8")
    code, rows = grade(folder, tmp_path / "grades.csv", "--gradebook", str(export))
    assert code == 0
    assert len(rows) == 8
    filled = rows_of(tmp_path / "Grades-SSL-Homework 1-99-filled.csv")
    assert [*filled[0]] == WORKSHEET.partition("\n")[0].split(",")
    wrong = rows["Jürgen Müller_7002_assignsubmission_file_"]["score"]
    assert 0 < int(wrong) < 8
    grades = {row["Identifier"].split()[1]: row["Grade"] for row in filled}
    assert grades == {
        "7001": "8", "7002": wrong, "7003": "8", "7004": "8", "7005": "8", "7006": "",
        "7007": "70.00", "7008": "0", "7009": "",
    }  # fmt: skip
    assert {row["Last modified (grade)"] for row in filled} == {"-", "Friday, 27 November 2026"}
    assert filled[1]["Feedback comments"] == "'=ask me"
    assert filled[7]["Feedback comments"] == "hw1.py is empty"
    assert all("<" not in row["Feedback comments"] for row in filled)
    said = capsys.readouterr().out
    assert "Max Other_7006_assignsubmission_file (no such student)" in said
    assert "Lea Locked_7007_assignsubmission_file (its grade cannot be changed)" in said
    assert "nothing handed in: Mia Other; No Body" in said


def test_comments_and_names_are_no_formulas_and_no_html(tmp_path):
    export = tmp_path / "g.csv"
    export.write_text(WORKSHEET.replace("Eve,", "+Eve,"), encoding="utf-8")
    comment = "=HYPERLINK(1) <b>1.1: wrong & late</b>"
    names = ("Jane Doe_7003_assignsubmission_file", "Jane Doe_7003_assignsubmission_file_hw1.py")
    graded = [
        {"submission": "Seán OBrien_7001_assignsubmission_file", "score": "5", "comment": comment},
        *({"submission": name, "score": "5", "comment": ""} for name in names),
        {"submission": "janedoe_7004_1_hw1.py", "score": "5", "comment": ""},  # of Canvas
        {"submission": "alice", "score": "5", "comment": ""},
    ]
    data, told = read_gradebook(export, 1).filled(graded)
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8"))))
    expected = "'=HYPERLINK(1) &lt;b&gt;1.1: wrong &amp; late&lt;/b&gt;"
    assert rows[0]["Feedback comments"] == expected
    assert rows[4]["Full name"] == "'+Eve"
    assert [row["Grade"] for row in rows].count("5") == 1
    assert [line.rpartition("(")[2] for line in told[:-1]] == [
        "one of several of a student)",
        "one of several of a student)",
        "no such student)",
        "no such student)",
    ]


# ---- Gradescope ----------------------------------------------------------------------------------

GRADESCOPE = {
    "assignment_5_export/submission_metadata.yml": "submission_41:\n  :submitters:\n  - :name: A\n",
    "assignment_5_export/submission_41/hw1.py": RIGHT,
    "assignment_5_export/submission_42/hw1.py": WRONG,
    "assignment_5_export/submission_43/hw1/hw1.py": RIGHT,
}
SCORES = """\
First Name,Last Name,SID,Email,Total Score,Max Points,Status,Submission ID
Ana,Áría,1,a@x,,86.0,Ungraded,41
Bo,O'Neil,2,b@x,,86.0,Ungraded,42
Cy,Young,3,c@x,,86.0,Ungraded,43
Di,None,4,d@x,,86.0,Missing,
"""


def test_gradescope(tmp_path, capsys):
    folder = exported(tmp_path, "export.zip", GRADESCOPE) / "assignment_5_export"
    export = tmp_path / "Homework_1_scores.csv"
    export.write_text(SCORES, encoding="utf-8")
    code, rows = grade(folder, tmp_path / "grades.csv", "--gradebook", str(export))
    assert code == 0
    assert [*rows] == ["submission_41", "submission_42", "submission_43"]
    filled = rows_of(tmp_path / "Homework_1_scores-filled.csv")
    wrong = rows["submission_42"]["score"]
    assert [row["Total Score"] for row in filled] == ["8", wrong, "8", ""]
    assert [row["Last Name"] for row in filled] == ["Áría", "O'Neil", "Young", "None"]
    assert "ignored: submission_metadata.yml" in capsys.readouterr().out


def test_what_is_no_gradebook_is_told_before_anything_is_graded(tmp_path, capsys):
    folder = exported(tmp_path, "s.zip", {"alice/hw1.py": RIGHT})
    table, export = tmp_path / "grades.csv", tmp_path / "roster.csv"
    export.write_text("name,email\nA,a@x\n", encoding="utf-8")
    for options, word in (
        (("--gradebook", str(export)), "roster.csv cannot be read as a gradebook"),
        (("--gradebook", str(tmp_path / "none.csv")), "none.csv"),
        (("--column", "HW 1"), "--gradebook"),
    ):
        code, rows = grade(folder, table, *options)
        assert (code, rows) == (1, {})
        assert word in capsys.readouterr().err
    export.write_text(SCORES, encoding="utf-8")
    code, _ = grade(folder, tmp_path / "roster-filled.csv", "--gradebook", str(export))
    assert code == 1
    assert "give --csv another name" in capsys.readouterr().err

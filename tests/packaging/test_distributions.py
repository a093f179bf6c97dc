"""From a wheel alone: what is in it, what a source distribution holds, and what then works."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes

import pytest

from minissl import course
from tests.packaging.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(made):
    """Path -> bytes, of what a wheel installs."""
    with zipfile.ZipFile(made.wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    """Calls the installed library in an empty folder, far from the repository."""
    folder = tmp_path_factory.mktemp("elsewhere")
    environment = {**os.environ, "PYTHONPATH": str(made.site), "PYTHONIOENCODING": "utf-8"}

    def call(*words):
        done = subprocess.run(
            [sys.executable, *words], cwd=folder, env=environment, capture_output=True,
            encoding="utf-8", timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    call.folder = folder
    return call


def test_the_wheel_carries_the_course_as_it_is(wheel):
    kept = [path for pattern in course.PATTERNS for path in ROOT.glob(pattern)]
    carried = {name for name in wheel if name.startswith("minissl/_course/")}
    assert carried == {f"minissl/_course/{path.relative_to(ROOT).as_posix()}" for path in kept}
    for path in kept:
        assert wheel[f"minissl/_course/{path.relative_to(ROOT).as_posix()}"] == path.read_bytes()
    for pattern in (
        "lectures/[0-9]*.md",
        "lectures/figures/*.svg",
        "lectures/claims/*",
        "notebooks/*.ipynb",
    ):
        assert {path for path in ROOT.glob(pattern) if path.is_file()} <= {*kept}


def test_beside_it_the_wheel_has_the_two_packages_and_nothing_else(wheel):
    kept = {
        path.relative_to(folder).as_posix()
        for folder, package in ((ROOT, "minissl"), (ROOT / "kernels", "minissl_kernels"))
        for path in (folder / package).rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert {"minissl/style.css", "minissl/py.typed", "minissl/homework/handouts/hw1.md"} < kept
    assert {name for name in wheel if "_course/" not in name and ".dist-info/" not in name} == kept
    assert b"minissl = minissl.__main__:main" in wheel[dist_info(wheel, "entry_points.txt")]


def dist_info(wheel, file):
    return next(name for name in wheel if name.endswith(f".dist-info/{file}"))


def test_the_wheel_stays_small(made, wheel):
    """The README's sentence says how large."""
    assert made.wheel.stat().st_size < 4e6
    assert sum(map(len, wheel.values())) < 15e6


def test_the_sdist_is_the_repository(made):
    """Every file that is tracked, and none of those that merely lie there."""
    try:
        command = ["git", "ls-files", "-z"]
        listed = subprocess.run(
            command, cwd=ROOT, capture_output=True, check=True, encoding="utf-8"
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only git knows which files belong to the repository")
    tracked = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    with tarfile.open(made.sdist) as archive:
        names = {file.name.partition("/")[2] for file in archive if file.isfile()}
    assert not tracked - names
    of_setuptools = {name for name in names if name.startswith("minissl.egg-info/")}
    # Written, and not committed yet; what an editable install leaves beside the sources is neither.
    new = {name for name in names - of_setuptools if (ROOT / name).is_file()}
    assert names - tracked - new == of_setuptools | {"PKG-INFO", "setup.cfg"}
    # Without it an unpacked sdist would be a distribution without a name, on which others stumble.
    assert "minissl.egg-info/PKG-INFO" in names


def test_a_package_index_gets_a_readme_without_dead_links(wheel):
    said = message_from_bytes(wheel[dist_info(wheel, "METADATA")])
    assert said["Description-Content-Type"] == "text/markdown"
    assert not said.get_all("Project-URL"), "then the links lead there: see setup.py"
    text = said.get_payload(decode=True).decode()
    assert text.startswith("# minissl\n")
    prose = re.sub(r"^```.*?^```$|`[^`]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    assert not [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link]
    headings = [
        line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if line[:1] == "#"
    ]
    assert [line for line in text.splitlines() if line[:1] == "#"] == headings


def test_the_installed_library_is_run(made, run):
    where = "import minissl, minissl_kernels; print(minissl.__file__, minissl_kernels.__file__)"
    assert all(path.startswith(str(made.site)) for path in run("-c", where).split())


def test_a_lecture_is_read_as_in_the_repository(made, run, capsys):
    from minissl.cli import main

    shown = run("-m", "minissl", "lecture", "07")
    assert main(["lecture", "07"]) == 0
    carried = made.site / "minissl" / "_course"
    assert shown.replace(str(carried), str(ROOT)) == capsys.readouterr().out
    figures = re.findall(r"^    (/.*\.svg)$", shown, flags=re.MULTILINE)
    assert len(figures) >= 5
    assert all(os.path.isfile(path) and path.startswith(str(carried)) for path in figures)
    listed = run("-m", "minissl", "lecture")
    assert main(["lecture"]) == 0
    assert listed == capsys.readouterr().out


def test_a_homework_is_started_and_says_where_to_read(run):
    assert "hw1 is ready" in run("-m", "minissl", "homework", "start", "1")
    answer = (run.folder / "hw1" / "hw1.py").read_text("utf-8")
    unwritten = re.search(r'raise NotImplementedError\("hw1\.1 .*"\)', answer)[0]
    (run.folder / "hw1" / "hw1.py").write_text(answer.replace(unwritten, "return a"), "utf-8")
    shown = run("-m", "minissl", "homework", "check", "1", "--task", "1.1")
    command = re.search(r"Read: minissl (lecture .*?)  \(An operation and its way back\)", shown)[1]
    assert run("-m", "minissl", *command.split()).startswith("## 2. An operation and its way back")

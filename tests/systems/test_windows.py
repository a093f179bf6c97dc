"""Commands in processes that lack what Windows lacks (``windows/sitecustomize.py``).

The oracle is a list of what Windows refuses, not the library. None of it says that the library runs
there: nobody has tried.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from minissl.homework import child, process

ROOT = Path(__file__).parent.parent.parent
WINDOWS = Path(__file__).parent / "windows"
SIZE = "--vocab-size 300 --width 16 --context-length 16 --batch-size 2 --evaluations 60".split()
WITH_TRITON = {"minissl.homework.interpreted", "minissl.homework.watched"}
NOT_HELD_BACK = "minissl: this system has no process groups"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="imitates Windows on Linux")

IMPORT_ALL = """\
import importlib, json, pkgutil, sys
import minissl
failed = {}
for module in pkgutil.walk_packages(minissl.__path__, "minissl."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            failed[module.name] = str(error)
import os, signal, subprocess
assert not hasattr(os, "killpg") and not hasattr(signal, "SIGKILL")  # the imitation is there
print(json.dumps(failed))
"""
REFUSED = """\
import os, pathlib, shutil, signal, subprocess, sys
def refused(call, *arguments):
    try:
        call(*arguments)
    except OSError:
        return True
    return False
place = pathlib.Path("file")
with open(place, "w", encoding="utf-8") as file:
    assert refused(os.unlink, place) and refused(os.replace, place, "other")
    assert refused(os.open, os.curdir, os.O_RDONLY) and refused(os.kill, os.getpid(), 0)
pathlib.Path("new").mkdir()
assert refused(os.replace, place, "new") and refused(os.mkdir, "a:b") and refused(os.mkdir, "aux")
process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
assert refused(process.send_signal, signal.SIGINT)
process.kill()
assert process.wait() == -9
os.unlink(place)
"""
WAITED_FOR = """\
import pathlib, subprocess, sys, threading, time
from minissl import durable
from minissl.demo import demo
place = pathlib.Path("file")
place.write_bytes(b"old")
reader = open(place, "rb")
threading.Timer(0.2, reader.close).start()
durable.replace_durably(place, b"new")
assert reader.closed and place.read_bytes() == b"new"
durable.PATIENCE = 0.1
with open(place, "rb"):
    try:
        durable.replace_durably(place, b"newer")
    except PermissionError:
        place = None
found = {file.name: file.read_bytes() for file in pathlib.Path().iterdir()}
assert place is None and found == {"file": b"new"}
demo.TO_SAVE = 0.1
for seconds in ("0", "60"):  # one that Ctrl-C has ended, and one that goes on
    process = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"])
    demo._stop(process)
    assert process.returncode is not None
"""


def environment():
    paths = [WINDOWS, ROOT, ROOT / "kernels"]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}


def run(folder, *arguments, **options):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, encoding="utf-8", **options
    )


def minissl(folder, *arguments, errors=""):
    """What a command prints, which has to end well."""
    done = run(folder, "-m", "minissl", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(errors) if errors else not done.stderr
    return done.stdout


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("The cat sat on the mat, and it was late.\n\n" * 200, encoding="utf-8")
    return path


def test_the_imitation_refuses_what_windows_refuses(tmp_path):
    done = run(tmp_path, "-c", REFUSED)
    assert done.returncode == 0, done.stderr


def test_who_reads_a_file_is_waited_for_and_who_saves_too(tmp_path):
    done = run(tmp_path, "-c", WAITED_FOR)
    assert done.returncode == 0, done.stderr


def test_what_needs_triton_is_not_collected(tmp_path):
    but_kernels_and_benchmarks = f"--ignore-glob={ROOT}/tests/[!bk]*"
    done = run(ROOT, "-m", "pytest", "--collect-only", "tests", but_kernels_and_benchmarks)
    assert done.returncode == 5, done.stdout  # no tests, and no error


def test_every_module_is_imported(tmp_path):
    done = run(tmp_path, "-c", IMPORT_ALL, check=True)
    failed = json.loads(done.stdout)
    assert failed.keys() == WITH_TRITON
    assert all("triton" in reason for reason in failed.values())


def test_a_run_that_was_killed_goes_on(book, tmp_path):
    """The lock is gone with its process, and a second process is refused while there is one."""
    command = ["-m", "minissl", "pretrain", "gpt", "book.txt", "--run", "r", "--steps", "60", *SIZE]
    first = subprocess.Popen([sys.executable, *command], cwd=tmp_path, env=environment())
    try:
        wait_for(lambda: list(tmp_path.glob("r/checkpoints/step-*")), first)
        second = run(tmp_path, *command)
        assert second.returncode == 1
        assert f"r is in use by process {first.pid} on" in second.stderr
    finally:
        first.kill()
        first.wait()
    begun = max(int(p.name[5:]) for p in tmp_path.glob("r/checkpoints/step-*"))
    assert (tmp_path / "r" / ".lock").exists()
    done = run(tmp_path, *command)
    assert done.returncode == 0, done.stderr
    assert f"step {begun + 1}/60" in done.stderr
    log = (tmp_path / "r" / "log.jsonl").read_text(encoding="utf-8")
    assert [json.loads(line)["step"] for line in log.splitlines()] == [*range(61)]
    assert not [*(tmp_path / "r").rglob(".*")]
    assert minissl(tmp_path, "sample", "r", "--prompt", "The cat")
    assert "report.html" in minissl(tmp_path, "report", "r")


def wait_for(condition, running):
    until = time.monotonic() + 60
    while not condition():
        assert running.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)


def test_files_are_replaced(book, tmp_path):
    for size in ("300", "290"):
        minissl(tmp_path, "tokenizer", "train", "book.txt", "--out", "t.json", "--vocab-size", size)
    assert minissl(tmp_path, "tokenizer", "encode", "--text", "it was", "--tokenizer", "t.json")
    assert minissl(tmp_path, "claim", "--list")
    assert "# 07" in minissl(tmp_path, "lecture", "07")
    assert "usage: minissl demo" in minissl(tmp_path, "demo", "--help")


def test_what_is_not_held_back_is_said_of_every_system(monkeypatch):
    assert process.not_held_back() == ""
    monkeypatch.setattr(process, "sys", SimpleNamespace(platform="darwin"))
    assert "may outlive its check" in process.not_held_back()
    monkeypatch.setattr(process, "POSIX", False)
    assert "its memory and files are not limited" in process.not_held_back()


def test_a_limit_that_the_system_refuses_stops_no_check(monkeypatch):
    def refuse(kind, limits):
        asked.append(kind)
        raise ValueError("current limit exceeds maximum limit")

    asked = []
    names = dict.fromkeys(("RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_CORE"), 1)
    none = SimpleNamespace(
        **names, RLIM_INFINITY=-1, getrlimit=lambda _: (-1, -1), setrlimit=refuse
    )
    monkeypatch.setitem(sys.modules, "resource", none)
    child.limit_resources()
    assert len(asked) == 3


ENDLESS = """\
import subprocess, sys
def divide(*arguments):
    print("begun", flush=True)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"])
    while True:
        pass
"""


def test_a_homework_is_checked_with_less_around_it(tmp_path):
    """The sentence comes once, and what never ends is ended."""
    out = minissl(
        tmp_path, "homework", "check", "1", "--answer-key", "--task", "1.1", errors=NOT_HELD_BACK
    )
    assert "8 of 8" in out


def test_what_never_ends_is_ended_without_a_process_group(tmp_path):
    (tmp_path / "hw1.py").write_text(ENDLESS, encoding="utf-8")
    program = (
        "from dataclasses import replace; from pathlib import Path\n"
        "from minissl.homework.assignments import load_assignment\n"
        "from minissl.homework.check import check_submission\n"
        "one = load_assignment(1)\n"
        "one = replace(one, tasks=[replace(one.tasks[0], seconds=1.0)])\n"
        "results = check_submission(one, Path('hw1.py'))\n"
        "print(results.score, results.tasks[0].printed, results.comment)"
    )
    done = run(tmp_path, "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 begun 1.1: it was stopped after 1 seconds in line ")

"""What a student's file may do to the checker: it costs the task, and never earns one."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from minissl.homework.check import Settings, check_submission
from minissl.homework.plain import plain, told
from minissl.homework.report import Received, Report
from minissl.homework.scoreboard import to_gradescope, to_text
from minissl.homework.task import Assignment
from tests.homework.submissions import IMPORTS, ONE, write
from tests.systems import posix

RIGHT = """
def unbroadcast(gradient, shape):
    extra = gradient.ndim - len(shape)
    axes = tuple(extra + i for i, n in enumerate(shape) if n == 1)
    return gradient.sum((*range(extra), *axes), dtype=gradient.dtype).reshape(shape)
"""
TWO = Assignment(1, ONE.title, tuple(replace(task, seconds=2) for task in ONE.tasks[:2]))
FORGED = "".join(
    json.dumps(line) + "\n"
    for line in [
        {"event": "started"},
        *(
            {"event": "outcome", "check": check.name, "status": "passed", "symptom": "", "case": {}}
            for check in ONE.tasks[0].checks
        ),
    ]
)
ATTACKS = {
    "it deletes and breaks what it can reach": f"""
        import os, shutil, signal
        for descriptor in range(1, 30):
            try:
                os.write(descriptor, {FORGED!r}.encode())
            except OSError:
                pass
        shutil.rmtree(os.getcwd())
        os.kill(os.getppid(), 9)
        signal.pause()""",
    "it ends by a signal without a name": "import os; os.kill(os.getpid(), 40)",
    "its error is 10 MB long, has half characters, and cannot be printed": r"""
        class Name(type):
            @property
            def __name__(self): raise KeyboardInterrupt
        class Text(str):
            def __len__(self): raise SystemExit
            def __getitem__(self, i): raise SystemExit
        class Error(Exception, metaclass=Name):
            def __str__(self): return Text('\ud800\x1b[2J' * 2_000_000)
        first, second = Error(), Error()
        first.__cause__, second.__cause__ = second, first
        raise first""",
    "it shows a case without end": r"""
        from minissl.homework.task import Wrong
        raise Wrong('\ud800' * 10**6, {str(i): '\udcff' * 10**5 for i in range(1000)}, 1, 2)""",
    "it floods what it can": """
        import os
        while True:
            for descriptor in range(1, 12):
                try: os.write(descriptor, b'[1]\\n' * 5000)
                except OSError: pass""",
    "it makes all comparisons true": """
        import minissl.homework.task as task
        task.expect = lambda *arguments, **options: None
        np.allclose = np.array_equal = lambda *arguments, **options: True
        return a""",
    "it makes folders without end": """
        import os
        os.chdir(os.path.dirname(__file__))
        for _ in range(1100):
            os.mkdir("d")
            os.chdir("d")""",
    "it is not watched for a while": """
        import sys
        from minissl.autograd import operations as ops
        watch = sys.getprofile()
        sys.setprofile(None)
        result = ops.divide(a, b)
        sys.setprofile(watch)
        return result""",
    "its decorator ends the process": "DECORATOR",
}


def attack(text):
    if text == "DECORATOR":
        divide = "import os\ndef bad(f):\n    os._exit(3)\n@bad\ndef divide(a, b, /):\n    pass\n"
    else:
        divide = "def divide(a, b, /):\n" + textwrap.indent(textwrap.dedent(text).strip(), "    ")
    return f"{IMPORTS}{RIGHT}\n{divide}\n"


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_costs_its_task_and_no_more(tmp_path, name):
    path = write(tmp_path, attack(ATTACKS[name]))
    results = check_submission(TWO, path, settings=Settings(extra=0))
    assert [result.score for result in results.tasks] == [0, TWO.tasks[1].points]
    assert results.comment
    text = to_text(results) + results.comment
    text.encode()
    assert "\x1b" not in text
    assert len(json.dumps(to_gradescope(results))) < 60_000
    assert path.exists(), "what it deletes is a copy"


def test_only_signed_lines_count_and_each_once():
    ours, theirs = os.pipe()
    report, received = Report(theirs, "key"), Received("key")
    os.write(theirs, b'{"event": "half a line')
    report.add(event="started")
    report.add(event="outcome", check="a")
    data = os.read(ours, 10_000)
    received.take(data[:50])
    received.take(data[50:])
    assert [line["event"] for line in received.lines] == ["started", "outcome"]
    received.take(data + data.replace(b'"a"', b'"b"') + FORGED.encode())
    assert len(received.lines) == 2
    stranger = Received("another key")
    stranger.take(data)
    assert stranger.lines == []
    os.close(ours)
    os.close(theirs)


def test_any_text_can_be_printed():
    assert plain("a\x1b[2J\ud800\u202e é\n") == r"a\x1b[2J\ud800\u202e é" + "\n"
    assert plain("x" * 1000, 10) == "x" * 10 + " ..."
    assert plain(3) == "no text: int"

    class Error(Exception):
        def __str__(self):
            raise KeyboardInterrupt

    assert told(Error()) == "Error (its message cannot be printed: KeyboardInterrupt)"


def running(number):
    try:
        return (
            Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            != "Z"
        )
    except OSError:
        return False


@posix
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_process_outlives_the_checker(tmp_path):
    """Whatever ends it; also a process that has left the session of the student's code."""
    loop = f"""
    import os
    if os.fork() == 0:
        os.setsid()
    open({str(tmp_path)!r} + f'/pids{{os.environ["WHICH"]}}', 'a').write(f'{{os.getpid()}} ')
    while True:
        pass"""
    write(tmp_path, attack(loop))
    command = [sys.executable, "-m", "minissl", "homework", "check", "1", "--task", "1.1", tmp_path]
    for name in ("SIGTERM", "SIGHUP", "SIGKILL"):
        checker = subprocess.Popen(command, env={**os.environ, "WHICH": name})
        pids = tmp_path / f"pids{name}"
        until = time.monotonic() + 60
        while not pids.exists() or len(pids.read_text(encoding="utf-8").split()) < 2:
            assert time.monotonic() < until
            time.sleep(0.02)
        numbers = [int(number) for number in pids.read_text(encoding="utf-8").split()]
        assert all(running(number) for number in numbers)
        checker.send_signal(getattr(signal, name))
        checker.wait()
        while any(running(number) for number in numbers):
            assert time.monotonic() < until, f"{name}: {numbers}"
            time.sleep(0.02)


def test_the_folder_of_the_student_hides_no_module(tmp_path, monkeypatch):
    """PYTHONPATH=. is our folder, not the student's."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([".", os.environ.get("PYTHONPATH", ""), ""]))
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    for name in ("hmac.py", "random.py", "json.py"):
        write(tmp_path, "raise SystemExit", name)
    path = write(tmp_path, f"{IMPORTS}{RIGHT}\nprint('é')\n")
    results = check_submission(TWO, path, numbers=["1.2"], settings=Settings(extra=0))
    assert results.score == TWO.tasks[1].points
    assert results.tasks[0].printed == "é"


def test_what_is_replaced_while_loading_costs_nothing_and_earns_nothing(tmp_path):
    """The second task keeps its points, the first one gets none."""
    before = """
import __main__, builtins, dataclasses, json, os
import minissl.homework.task as t
from minissl.homework.assignments import load_assignment
yes = lambda *a, **k: True
np.allclose = np.array_equal = np.isfinite = t._same = t.expect = yes
t._array.__code__ = (lambda value: 0).__code__
for task in load_assignment(1).tasks:
    for check in task.checks:
        object.__setattr__(check, "run", yes)
__main__.run_check = __main__.asdict = json.dumps = dataclasses.asdict = yes
os.write = os.getpid = builtins.len = builtins.isinstance = builtins.print = yes
builtins.__import__ = None
"""
    text = attack("return a").replace(f"{RIGHT}", f"{RIGHT}\n{before}", 1)
    results = check_submission(TWO, write(tmp_path, text), settings=Settings(extra=0))
    assert [result.score for result in results.tasks] == [0, TWO.tasks[1].points]

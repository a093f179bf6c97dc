"""The visit to a GPU without one: every stage, whatever may stop it, and what it leaves behind."""

import ctypes
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest

from benchmarks.gpu_day import __main__ as program
from benchmarks.gpu_day import facts, pool, rows, smoke, summary, wheels
from benchmarks.gpu_day.folder import Folder, append, good

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "results")


# ---- the whole, killed in the middle ------------------------------------------------------------


def begin(*words, **settings):
    command = [sys.executable, "-m", "benchmarks.gpu_day", *map(str, words)]
    quiet = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.Popen(command, cwd=ROOT, env=quiet, encoding="utf-8", **settings)


def test_killed_in_the_rows_a_second_visit_ends_it(folder):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = begin("--results", folder.path, "--dry-run", **quiet)
    while first.poll() is None and len(folder.done("rows")) < 3:
        time.sleep(0.1)
    first.kill()
    assert first.wait() == -signal.SIGKILL, folder.log.read_text(encoding="utf-8")
    before = {stage: folder.done(stage) for stage in ("smoke", "tests", "rows")}
    assert {*before["smoke"]} == {*smoke.DRY}
    assert len(before["tests"]) == 2
    tables = json.loads((folder.path / "kernels_no_gpu.json").read_text(encoding="utf-8"))["tables"]
    assert [row["case"] for row in tables["attention"]["rows"]] == [
        "width 16, causal, 24, forward", "width 16, causal, 24, backward"
    ]  # fmt: skip

    stages = ("--stages", "smoke,tests,rows")
    second = begin("--results", folder.path, "--dry-run", *stages, stdout=subprocess.PIPE)
    said = second.communicate()[0]
    assert second.returncode == 0, folder.log.read_text(encoding="utf-8")
    for stage, done in before.items():
        after = [entry["part"] for entry in folder.entries(stage) if "part" in entry]
        assert len(after) == len({*after}), f"done twice: {stage}"
        assert {*done} <= {*after}
    files = [*folder.path.iterdir()]
    assert len(files) <= 8
    assert all(file.is_file() for file in files)
    text = (folder.path / "summary.txt").read_text(encoding="utf-8")
    assert said.endswith(text)
    assert len(text) <= summary.MOST
    assert "no failures" in text
    for name in ("kernels", "training"):
        tables = json.loads((folder.path / f"{name}_no_gpu.json").read_text(encoding="utf-8"))[
            "tables"
        ]
        assert {*tables} == {*(rows.TABLES if name == "kernels" else rows.TRAINING[:3])}
        for table in tables.values():  # the command can be typed
            assert program.arguments(shlex.split(table["command"])[3:]).only
            assert table["environment"]["packages"]["triton"] in text
    compared = json.loads((folder.path / "kernels_no_gpu.json").read_text(encoding="utf-8"))[
        "tables"
    ]
    times = compared["cross_entropy"]["rows"][0]["milliseconds"]
    assert isinstance(times["torch.compile"], float)  # those that compile come last
    assert compared["layer_norm"]["rows"][0]["milliseconds"]["torch.compile"] == "left out"


# ---- processes ----------------------------------------------------------------------------------


def job_of_parts(job, teller):
    """In a process of its own. ``job["parts"]``: how each part ends."""
    for part, how in job["parts"].items():
        if part in job["done"]:
            continue
        teller.begin(part)
        teller.at("the middle")
        if how == "dies":
            ctypes.string_at(0)
        elif how == "hangs":
            time.sleep(60)
        elif how == "raises":
            raise ValueError("a reason\nmore of it")
        elif how == "leaves":
            teller.done("FAILED: the GPU is gone")
            raise SystemExit(1)
        print(f"{part} was here")
        teller.done()


def dies_at_once(job, teller):
    raise SystemExit(7)


def ends(folder, function, jobs, **settings):
    told = {}
    settings = {"workers": 2, "until": time.time() + 30, "limit": 20, **settings}
    left = pool.do(function, jobs, folder, lambda part, said, _: told.update({part: said}),
                   **settings)  # fmt: skip
    return told, left


def test_a_part_that_kills_its_process_or_hangs_does_not_take_the_others_along(folder):
    jobs = [
        {"name": "a", "parts": {"1": "works", "2": "dies", "3": "works"}},
        {"name": "b", "parts": {"4": "hangs", "5": "works"}, "limit": 0.5},
        {"name": "c", "parts": {"6": "leaves", "7": "works"}},
        {"name": "d", "parts": {"d": "raises"}},
    ]
    told, left = ends(folder, job_of_parts, jobs)
    assert left == []
    assert told == {
        "1": "ok", "2": "DIED (SIGSEGV), in the middle", "3": "ok",
        "4": "CUT OFF after 0 s, in the middle", "5": "ok", "6": "FAILED: the GPU is gone",
        "7": "ok", "d": "FAILED: a reason",
    }  # fmt: skip
    failures = folder.failures.read_text(encoding="utf-8")
    assert "ctypes.string_at(0)" not in failures  # where it was: by faulthandler, without sources
    assert failures.count("in job_of_parts") == 3
    assert "ValueError: a reason\nmore of it" in failures
    assert "7 was here" in folder.log.read_text(encoding="utf-8")


def test_what_the_end_of_the_time_stops_is_not_done(folder):
    jobs = [{"name": name, "parts": {name: how}} for name, how in
            (("a", "works"), ("b", "hangs"), ("c", "works"))]  # fmt: skip
    start = time.time()
    told, left = ends(folder, job_of_parts, jobs, workers=1, until=start + 3)
    assert time.time() < start + 6
    assert told == {"a": "ok"}
    assert left == ["b", "c"]
    assert ends(folder, job_of_parts, jobs, until=start) == ({}, ["a", "b", "c"])


def test_a_process_that_cannot_begin_is_not_tried_for_ever(folder):
    told, left = ends(folder, dies_at_once, [{"name": "a"}])
    assert (told, left) == ({"a": "DIED (exit status 7), before it began"}, [])


def planted(job, teller):
    """``smoke.work`` with a case that ends its process as a fault in a driver would."""
    smoke.CASES["dies"] = lambda here: os.abort()
    smoke.CASES["inaccurate"] = lambda here: pytest.fail("no")
    smoke.CASES["wrong"] = wrong
    smoke.work(job, teller)


def wrong(here):
    raise AssertionError("y is off by 1")


def test_a_smoke_case_that_kills_its_process(folder):
    jobs = [{"name": name, "dry": True} for name in ("dies", "wrong", "dropout bfloat16")]
    told, left = ends(folder, planted, jobs, workers=1)
    assert left == []
    assert told["dies"] == "DIED (SIGABRT)"
    assert told["wrong"] == "INACCURATE: y is off by 1"
    assert told["dropout bfloat16"] == "ok"


# ---- tests --------------------------------------------------------------------------------------


def run_pytest(folder, file, until):
    added = {
        "GPU_DAY_RESULTS": str(folder.path), "GPU_DAY_UNTIL": str(until),
        "GPU_DAY_JOURNAL": str(folder.journal.stat().st_size if folder.journal.exists() else 0),
    }  # fmt: skip
    options = "-p benchmarks.gpu_day.report -c /dev/null -q -p no:cacheprovider -p no:xdist"
    command = [sys.executable, "-m", "pytest", *options.split(), "--rootdir", file.parent, file]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **added}, capture_output=True)
    return {part.split("::")[1]: entry["said"] for part, entry in folder.done("tests").items()}


def test_behind_the_deadline_tests_are_skipped_and_next_time_they_are_not(folder, tmp_path):
    file = tmp_path / "test_few.py"
    file.write_text(
        "import time\n"
        "def test_a(): assert 1 == 2\n"
        "def test_b(): time.sleep(1.5)\n"
        "def test_c(): pass\n",
        encoding="utf-8",
    )
    assert run_pytest(folder, file, time.time() - 1) == {}
    assert "tests" not in folder.done("stages")
    file.write_text(
        file.read_text(encoding="utf-8").replace("pass", "assert 3 == 4"), encoding="utf-8"
    )
    assert run_pytest(folder, file, time.time() + 60) == {
        "test_a": "failed", "test_b": "passed", "test_c": "failed"
    }  # fmt: skip
    assert good(folder.done("stages")["tests"]["said"])
    failures = folder.failures.read_text(encoding="utf-8")
    assert "test_few.py::test_a (call)" in failures
    assert "assert 1 == 2" in failures
    run_pytest(folder, file, time.time() + 60)
    assert failures == folder.failures.read_text(encoding="utf-8")  # none of them has run again


# ---- rows ---------------------------------------------------------------------------------------


def test_what_a_row_has_measured_stays_when_its_process_ends(tmp_path):
    from benchmarks.kernels import measure
    from benchmarks.kernels.record import Record

    def hangs():
        raise KeyboardInterrupt  # in place of the end of the process

    contenders = {"minissl": lambda: lambda: None, "quick": lambda: lambda: None, "slow": hangs}

    def judge(times, memory):
        return {"reach": measure.against(times, ["slow"])}

    case = measure.Case("a case", contenders, 1e9, "GB/s", lambda: "", judge)
    record = Record("python", "run", tmp_path)
    record.start("layer_norm", "A", [], {"copy GB/s": 1.0, "product TFLOP/s": 1.0})
    keep, began = partial(record.add, "layer_norm"), []
    machine = measure.Machine(dry=True)

    def kept():
        (row,) = json.loads(record.path.read_text(encoding="utf-8"))["tables"]["layer_norm"]["rows"]
        return row, record.finished("layer_norm")

    with pytest.raises(KeyboardInterrupt):
        measure.measure(machine, case, begin=began.append, keep=keep)
    assert began == ["the check", "minissl", "quick", "slow"]
    row, finished = kept()
    assert [type(time) for time in row["milliseconds"].values()] == [float, float, str]
    assert row["milliseconds"]["slow"] == measure.CUT_OFF
    assert not finished
    assert "not finished" in record.path.with_suffix(".md").read_text(encoding="utf-8")

    keep(measure.measure(machine, case, ["minissl", "quick"], keep=keep))
    row, finished = kept()
    assert row["milliseconds"]["slow"] == measure.LEFT_OUT
    assert finished == {"a case"}
    with pytest.raises(KeyboardInterrupt):  # with all peers, and cut off again
        measure.measure(machine, case, keep=keep)
    assert kept() == (row, finished)
    case.contenders = {**contenders, "slow": lambda: lambda: None}
    keep(measure.measure(machine, case, keep=keep))
    assert isinstance(kept()[0]["milliseconds"]["slow"], float)


def test_within_a_run_a_training_table_only_grows(tmp_path):
    from benchmarks.training_gpu.record import TrainingRecord

    row = {"cells": {"step": "a"}, "milliseconds": 7.0, "rounds": 5}
    measured = [{"case": name, **row} for name in "ab"]
    first = TrainingRecord("python", "run 1", tmp_path)
    first.put("gpt2", "GPT-2", [], measured)
    briefly = [{**row, "rounds": 1, "milliseconds": 8.0} for row in measured]
    for run, rows_now, expected in (
        ("run 1", measured[:1], measured), ("run 1", briefly, measured),
        ("run 1", [*briefly, briefly[0]], [*briefly, briefly[0]]), ("run 2", briefly, briefly),
    ):  # fmt: skip
        again = TrainingRecord("python", run, tmp_path)
        again.put("gpt2", "GPT-2", [], rows_now)
        assert (
            json.loads(again.path.read_text(encoding="utf-8"))["tables"]["gpt2"]["rows"] == expected
        )


def test_a_contender_that_raises_leaves_its_traceback(folder, monkeypatch):
    from benchmarks.kernels import layer_norm, measure
    from benchmarks.kernels.measure import Machine

    monkeypatch.setattr(Machine, "measure_yardsticks", lambda self: None)

    def broken():
        raise RuntimeError("no such kernel")

    def cases(machine):
        yield measure.Case("8 x 8", {"minissl": lambda: lambda: None, "old": broken,
                           "Liger": broken}, 1e9, "GB/s", lambda: "", lambda *_: {})  # fmt: skip

    monkeypatch.setattr(layer_norm, "cases", cases)
    said = []
    teller = SimpleNamespace(begin=said.append, at=lambda where: None, done=said.append)
    group = rows.Group("layer_norm")
    job = {"group": group, "done": [], "path": folder.path, "records": folder.path,
           "dry": True, "run": "run 1", "command": "python"}  # fmt: skip
    rows.work(job, teller)
    assert said[0] == "layer_norm: 8 x 8"
    assert said[1].startswith("ok: ")
    assert "==== contender old" in folder.failures.read_text(encoding="utf-8")
    assert "Liger" not in folder.failures.read_text(
        encoding="utf-8"
    )  # it compiles long: it was left out
    rows.work({**job, "done": ["layer_norm: 8 x 8"]}, teller)
    assert len(said) == 2
    text = summary.text(folder)
    assert "old RuntimeError: no such kernel" in text


def test_a_wrong_result_is_a_failure_of_its_row():
    row = {"milliseconds": {"minissl": "wrong: y is off", "torch": 3.0}, "rates": {}}
    assert rows.in_short(row) == "FAILED: wrong: y is off"
    assert not good(rows.in_short(row))


def test_every_group_has_rows_and_what_it_needs_comes_first():
    from benchmarks.kernels.measure import Machine

    assert len({group.label for group in rows.MAIN}) == len(rows.MAIN)
    position = {group.label: i for i, group in enumerate(rows.MAIN)}
    for group in rows.MAIN:
        if group.peers:
            assert position[group.name] < position[group.label]
    machine = Machine(dry=True)
    for group in (*rows.MAIN, *rows.TUNE):
        if group.table in rows.TABLES:
            assert [*rows.chosen(machine, group)], group.label
    names = [name for name, _ in rows.warmed(machine, [*rows.MAIN])]
    assert len(names) == len({*names})
    assert "gpt2: minissl" in names
    assert "gpt2: torch eager" not in names


# ---- the machine --------------------------------------------------------------------------------


def test_wheels_are_unpacked_where_they_are_needed(tmp_path):
    def wheel(name, content="x = 7"):
        with ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("minissl_test_package.py", content)

    wheel("minissl_test_package-1.0-py3-none-any.whl")
    wheel("numpy-9.0-py3-none-any.whl", "x = 8")
    wheel("other_package-1.0-cp27-cp27m-win32.whl", "x = 9")
    (tmp_path / "broken_package-1.0-py3-none-any.whl").write_text("<html>", encoding="utf-8")
    site = tmp_path / "site"
    site.mkdir()
    said = wheels.unpack(tmp_path, site)
    assert [*site.iterdir()] == [site / "minissl_test_package.py"]
    assert (site / "minissl_test_package.py").read_text(encoding="utf-8") == "x = 7"
    for what in ("1.0: unpacked", "is installed", "for another Python", "is no zip file"):
        assert sum(what in line for line in said) == 1
    assert wheels.unpack(None, site) == []


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(facts.NotHere, match="sees no GPU") as reason:
        facts.facts(dry=False)
    assert "--dry-run" in str(reason.value)
    monkeypatch.setattr(facts, "NEEDED", ("no_such_package.inner",))
    with pytest.raises(facts.NotHere, match="pip download --no-deps no-such-package"):
        facts.facts(dry=True)


def visit(folder, monkeypatch, answer, *words):
    """Facts are what ``answer`` says, and stages do nothing."""

    def do(function, jobs, folder, told, **settings):
        if function is facts.work:
            told("facts", answer, 0.0)
        return []

    monkeypatch.setattr(pool, "do", do)
    monkeypatch.setattr(sys, "argv", ["gpu_day", "--results", str(folder.path), *words])
    for name in ("TRITON_INTERPRET", "PYTHONUNBUFFERED", "PYTHONWARNINGS", "PYTHONPATH"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(program.signal, "signal", lambda *_: None)
    return program.main()


def known(gpu, sources="abc"):
    there = {"name": gpu, "driver": "580", "runtime": "CUDA 13.0"}
    packages = {"torch": "2.11", "triton": "3.6"}
    found = {"gpu": there, "packages": packages, "python": "3.12", "sources": sources}
    return f"ok {json.dumps(found)}"


def test_a_folder_is_of_one_machine(folder, monkeypatch, capsys):
    assert visit(folder, monkeypatch, 'ok "torch is not installed: do this"') == 2
    assert (
        "nothing can be measured here: torch is not installed: do this" in capsys.readouterr().err
    )
    assert visit(folder, monkeypatch, known("H200"), "--stages", "rows") == 0
    assert visit(folder, monkeypatch, known("H100"), "--stages", "rows") == 2
    said = capsys.readouterr().err
    assert "results of H200 with driver 580" in said
    assert "--fresh" in said
    assert visit(folder, monkeypatch, known("H200", "def"), "--stages", "rows") == 0
    assert "begun with other sources" in capsys.readouterr().err
    (folder.path / "notes.txt").write_text("mine", encoding="utf-8")
    assert visit(folder, monkeypatch, known("H100"), "--stages", "rows", "--fresh") == 0
    assert (folder.path / "notes.txt").exists()


def test_the_time_is_shared_and_what_is_left_goes_on(folder, monkeypatch):
    ends = {}

    def stage(name):
        return lambda self, until: ends.update({name: until - time.time()})

    for name in program.PHASES["main"]:
        monkeypatch.setattr(program.Visit, name, stage(name))
    assert visit(folder, monkeypatch, known("H200"), "--minutes", "1") == 0
    assert ends["smoke"] == pytest.approx(60 * 1.5 / 7.9, abs=2)
    assert ends["rows"] == pytest.approx(60, abs=2)  # all others left theirs
    ends.clear()
    assert visit(folder, monkeypatch, known("H200"), "--minutes", "0.1") == 0
    assert ends == {}
    assert "not begun, the time is over" in folder.log.read_text(encoding="utf-8")


def test_a_stage_that_fails_does_not_take_the_others_along(folder, monkeypatch, capsys):
    began = []

    def fails(self, until):
        raise OSError("no such program")

    monkeypatch.setattr(program.Visit, "tests", fails)
    monkeypatch.setattr(program.Visit, "rows", lambda self, until: began.append("rows"))
    assert visit(folder, monkeypatch, known("H200"), "--stages", "tests,rows") == 1
    assert began == ["rows"]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "  stages tests: FAILED: OSError: no such program"
    assert "raise OSError" in folder.failures.read_text(encoding="utf-8")


def test_a_failure_is_named_last_and_in_the_exit_status(folder, monkeypatch, capsys):
    folder.note(stage="smoke", part="gelu bfloat16", said="INACCURATE: y is off", seconds=1.0)
    assert visit(folder, monkeypatch, known("H200"), "--stages", "rows") == 1
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == "  smoke gelu bfloat16: INACCURATE: y is off"


def test_the_summary_is_short_and_a_line_that_was_cut_off_is_none(folder):
    for i in range(2000):
        folder.note(
            stage="tests", part=f"tests/kernels/test_attention.py::test[{i}]", said="failed"
        )
    row = {"case": "width 128, causal, 4096, forward", "unit": "TFLOP/s", "rates": {"minissl": 400},
           "milliseconds": {"minissl": 1.0, "cuDNN": 0.9}, "peak_gigabytes": {"minissl": 3.5},
           "verdict": {"reach": "no: 0.90 x as fast as cuDNN", "aim": "-"}}  # fmt: skip
    tables = {"attention": {"rows": [row] * 300, "yardsticks": {"copy GB/s": 4000.0}}}
    (folder.path / "kernels_x.json").write_text(json.dumps({"tables": tables}), encoding="utf-8")
    append(folder.journal, '{"stage": "tests", "part": "half a li')
    text = summary.text(folder)
    assert summary.MOST - 300 < len(text) <= summary.MOST
    assert "tests: 0 well, 2000 failed" in text
    assert "4096, forward: 1 ms 400 TFLOP/s, peak 3.5 GB | cuDNN 0.90x | reach no" in text
    assert text.splitlines()[-1].startswith("  ... more of them")


def test_files_of_others_in_the_folder_stay_and_are_not_read(tmp_path):
    strangers = {"config.json": "[1", "corpus.json.unfinished": "half", "table.json": "{}"}
    for name, text in strangers.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "kernels_x.json.unfinished").write_text("ours", encoding="utf-8")
    for fresh in (False, True):
        folder = Folder(tmp_path, fresh)
        assert "no failures" in summary.text(folder)
        folder.save_summary("")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*strangers, "summary.txt"}


def test_damaged_lines_of_the_journal_are_left_out(folder):
    damaged = ("null", "12", '{"stage": "visit"}', '{"stage": "smoke", "part": "x"}', "\udcff{")
    for line in damaged:
        with folder.journal.open("ab") as file:
            file.write(line.encode(errors="surrogateescape") + b"\n")
    folder.note(stage="smoke", part="gelu", said="ok")
    assert list(folder.done("smoke")) == ["gelu"]
    assert "smoke: 1 well, 0 failed" in summary.text(folder)
    assert program.Visit(program.arguments([]), folder).run


def test_a_folder_that_is_none_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert visit(SimpleNamespace(path=tmp_path / "file"), monkeypatch, known("H200")) == 2
    assert "file cannot be used as a folder (File exists): name another" in capsys.readouterr().err


def test_bad_arguments_and_the_help(capsys, tmp_path):
    def said(*words):
        with pytest.raises(SystemExit):
            program.arguments(words)
        return "".join(capsys.readouterr())

    assert "no rows named layernorm; there are attention," in said("--only", "layernorm")
    assert "tune has no smoke" in said("--phase", "tune", "--stages", "smoke,rows")
    assert "there is no nowhere" in said("--wheels", "nowhere")
    assert "the folder of the wheels" in said("--wheels", __file__)
    for minutes in ("0", "-1", "nan", "inf", "ten"):
        assert f"invalid positive value: '{minutes}'" in said("--minutes", minutes)
    assert "--minutes 10 --wheels wheels" in said("--help")
    assert program.arguments(["--only", "gpt2", "contrastive"]).stages == ["warm", "rows"]
    assert program.arguments(["--phase", "tune"]).stages == ["warm", "rows"]
    assert program.arguments([]).stages == ["smoke", "tests", "warm", "rows"]
    assert all((ROOT / "tests" / name).is_file() for name in program.TESTS)

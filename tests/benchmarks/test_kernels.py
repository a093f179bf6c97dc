"""The GPU benchmark without a GPU: every path of it, its verdicts, and what it records."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_session
from benchmarks.gpu_day import rows
from benchmarks.gpu_day.pool import Here
from benchmarks.kernels import __main__ as program
from benchmarks.kernels import measure, record
from benchmarks.kernels.measure import OURS, Case, GPUFailed, Machine, against, at_least

ROOT = Path(__file__).parents[2]
ROW = {
    "case": "8 x 8", "unit": "GB/s", "wrong": "", "quartiles_apart": {}, "peak_gigabytes": {},
    "milliseconds": {OURS: 2.0, "torch": 3.0, "Liger": "absent"}, "rates": {OURS: 5.0},
    "verdict": {"reach": "yes", "aim": "-"},
}  # fmt: skip
YARDSTICKS = {"copy GB/s": 4000.0, "product TFLOP/s": 700.0}


def benchmark(*words, **settings):
    command = [sys.executable, "-m", "benchmarks.kernels", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", **settings)


def results():
    return sorted((ROOT / "benchmarks" / "results").iterdir())


@pytest.mark.filterwarnings("ignore")  # of torch's compiler
@pytest.mark.parametrize("option", ["--dry-run", "--tune --dry-run"])
def test_every_path_runs_without_a_gpu_and_writes_nothing(option, monkeypatch, capsys):
    before = results()
    monkeypatch.setattr(sys, "argv", ["benchmarks.kernels", *option.split()])
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    status, said = program.main(), capsys.readouterr()
    assert status == 0, said.err
    assert results() == before
    tables = [line for line in said.out.splitlines() if line.startswith("## ")]
    assert len(tables) == 5
    rows = [line.split("|") for line in said.out.splitlines() if "float32" in line]
    assert len(rows) >= 5
    for row in rows:
        assert float(row[2]) > 0, f"ours was not measured: {row}"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_what_is_missing():
    done = benchmark()
    assert done.returncode == 2
    assert "sees no GPU" in done.stderr
    assert "--dry-run" in done.stderr


def test_help_and_bad_arguments():
    assert "pytest -m gpu" in benchmark("--help").stdout
    unknown = benchmark("layernorm")
    assert unknown.returncode == 2
    assert "no table named layernorm" in unknown.stderr
    assert "no file" in benchmark("--tutorial", "absent.py").stderr


# ---- measuring ----------------------------------------------------------------------------------


def case(contenders, check=lambda: "", judge=lambda times, memory: {"reach": "-"}, **settings):
    return Case("a case", contenders, 1e9, "GB/s", check, judge, **settings)


def fails(error):
    def prepare():
        raise error

    return prepare


def fails_when_run(error):
    return lambda: fails(error)


def test_a_peer_that_fails_is_an_entry_with_the_reason():
    row = measure.measure(
        Machine(dry=True),
        case(
            {
                OURS: lambda: lambda: None,
                "Liger": fails(ModuleNotFoundError("no", name="liger_kernel.ops")),
                "old": fails(ImportError("torch >= 2.13 has it")),
                "large": fails_when_run(torch.OutOfMemoryError("tried to allocate 137 GiB")),
                "broken": fails_when_run(ValueError("bad | shape\nsecond line")),
                "skipped": fails(measure.NotTried("too large")),
            },
            memory=True,
        ),
    )
    times = row["milliseconds"]
    assert isinstance(times.pop(OURS), float)
    assert times == {
        "Liger": "absent",
        "old": "absent: torch >= 2.13 has it",
        "large": "out of memory",
        "broken": "ValueError: bad / shape",
        "skipped": "not tried: too large",
    }
    assert set(row["rates"]) == {OURS}


def test_one_that_fails_late_does_not_spoil_the_others():
    calls = []

    def late():
        calls.append(None)
        if len(calls) > 1:
            raise RuntimeError("late")

    row = measure.measure(
        Machine(dry=True), case({OURS: lambda: lambda: None, "late": lambda: late})
    )
    assert isinstance(row["milliseconds"][OURS], float)
    assert row["milliseconds"]["late"] == "RuntimeError: late"


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (lambda: "y is off by 1", "wrong: y is off by 1"),
        (fails(ValueError("no")), "ValueError: no"),
    ],
)
def test_a_wrong_result_has_no_speed(check, reason):
    def judge(times, memory):
        return {"reach": against(times, ["torch"])}

    contenders = {OURS: lambda: lambda: None, "torch": lambda: lambda: None}
    row = measure.measure(Machine(dry=True), case(contenders, check, judge))
    assert row["milliseconds"][OURS] == reason
    assert row["verdict"] == {"reach": f"no: {reason}"}
    assert isinstance(row["milliseconds"]["torch"], float)


def test_after_the_gpu_has_failed_the_row_says_so(monkeypatch):
    machine = Machine(dry=True)
    failed = []

    def synchronize():
        if failed:
            raise RuntimeError("an illegal memory access was encountered")

    def bad():
        failed.append(True)
        raise RuntimeError("launch failed")

    monkeypatch.setattr(machine, "synchronize", synchronize)
    contenders = {OURS: lambda: lambda: None, "bad": lambda: bad, "next": lambda: lambda: None}
    with pytest.raises(GPUFailed) as caught:
        measure.measure(machine, case(contenders))
    row = caught.value.args[0]
    assert isinstance(row["milliseconds"][OURS], float)  # from its one run
    assert row["provisional"]
    assert row["milliseconds"]["bad"] == "RuntimeError: launch failed"
    assert row["milliseconds"]["next"] == "not measured, the GPU had failed"


def test_contenders_take_turns_and_a_call_is_a_part_of_a_run():
    turns = []
    runs = {name: lambda name=name: turns.append(name) for name in "ab"}
    measure.in_turn(Machine(dry=True), runs)
    assert turns == list("abab")
    slow = case({OURS: lambda: lambda: torch.zeros(2**20).sum()})
    row = measure.measure(Machine(dry=True), slow)
    slow.calls = 1000
    assert measure.measure(Machine(dry=True), slow)["rates"][OURS] > 10 * row["rates"][OURS]


def test_events_are_read_after_all_runs_and_memory_is_above_the_inputs(imagined_gpu):
    row = measure.measure(
        imagined_gpu, case({OURS: lambda: lambda: None, "torch": lambda: lambda: None}, memory=True)
    )
    assert row["milliseconds"] == {OURS: 7.0, "torch": 7.0}
    assert row["peak_gigabytes"] == {OURS: 3.5, "torch": 3.5}
    assert row["rates"][OURS] == pytest.approx(1e9 / 7e6)


def test_the_record_names_the_gpu(imagined_gpu, tmp_path):
    kept = record.Record("python", "run 1", tmp_path)
    kept.start("attention", "Attention", [], YARDSTICKS)
    kept.add("attention", ROW)
    assert kept.path == tmp_path / "kernels_nvidia_h200.json"
    assert "NVIDIA H200 (132 multiprocessors, 150.0 GB), driver" in kept.text()


def test_each_table_is_a_job_with_its_command(monkeypatch, capsys):
    calls = []

    def do(function, jobs, folder, told, *, until, **settings):
        calls.append((jobs, until - time.time()))
        told("layer_norm: 8 x 8", "FAILED: wrong: y is off", 1.0)
        return ["attention"]

    monkeypatch.setattr(gpu_session.pool, "do", do)
    monkeypatch.setattr(program, "missing", lambda: "")
    monkeypatch.setattr(sys, "argv", ["benchmarks.kernels", "layer_norm", "attention", "--tune"])
    assert program.main() == 1  # one was wrong
    said = capsys.readouterr().err
    assert "no time was left for attention" in said
    ((jobs, seconds),) = calls
    assert [job["command"] for job in jobs] == [
        f"python -m benchmarks.kernels {name} --tune" for name in ("layer_norm", "attention")
    ]
    assert {job["records"] for job in jobs} == {ROOT / "benchmarks" / "results"}
    assert all(job["group"].tune and job["group"].words == ("",) for job in jobs)
    assert 500 < seconds <= 540


def test_after_the_gpu_has_failed_the_row_is_kept_and_the_process_ends(monkeypatch, tmp_path):
    def fails(*_):
        raise GPUFailed(ROW)

    monkeypatch.setattr(measure, "measure", fails)
    said = []
    job = {"group": rows.Group("layer_norm"), "done": [], "path": tmp_path, "records": tmp_path,
           "dry": True, "run": "run 1", "command": "python"}  # fmt: skip
    with pytest.raises(SystemExit):
        rows.work(job, Here(lambda part, how, seconds: said.append((part, how))))
    assert said == [
        ("layer_norm: 8 x 20 float32", "FAILED: nothing runs on the GPU in this process any more")
    ]
    (table,) = json.loads((tmp_path / "kernels_no_gpu.json").read_text(encoding="utf-8"))[
        "tables"
    ].values()
    assert table["rows"] == [ROW]


def test_verdicts():
    times = {OURS: 2.0, "a": 3.0, "b": 1.0, "c": "absent"}
    assert against(times, ["a"]) == "yes: 1.50 x as fast as a"
    assert against(times, ["a", "b"]) == "no: 0.50 x as fast as b"
    assert against(times, ["b"], 0.5).startswith("yes")
    assert against(times, ["a", "c"]) == "yes: 1.50 x as fast as a (without c)"
    assert against(times, ["c"]) == "unknown: no c"
    assert against({**times, OURS: "out of memory"}, ["a"]) == "no: out of memory"
    assert at_least(90.0, 100.0, "the bandwidth") == "no: 0.90 of the bandwidth"
    assert at_least(100.0, 100.0, "it").startswith("yes")
    assert at_least(None, 1.0, "it") == "no: not measured"


def test_a_result_is_wrong_when_it_is_further_off_than_torch():
    exact = [torch.linspace(1, 2, 7, dtype=torch.float64)]
    near = [exact[0].float()]
    peer = [exact[0].float() + 1e-3]
    assert measure.wrong(["y"], near, peer, exact) == ""
    assert measure.wrong(["y"], [near[0] + 1.9e-3], peer, exact) == ""
    assert "y is off by" in measure.wrong(["y"], [near[0] + 5e-3], peer, exact)
    assert "y is off by" in measure.wrong(["y"], [near[0] * float("nan")], peer, exact)


# ---- the record ---------------------------------------------------------------------------------


def test_rows_are_on_disk_at_once_and_a_second_start_keeps_them(tmp_path):
    first = record.Record("python", "run 1", tmp_path)
    first.start("attention", "Attention", ["a note"], YARDSTICKS)
    first.add("attention", ROW)
    (table,) = tmp_path.glob("*.md")
    text = table.read_text(encoding="utf-8")
    assert "| 8 x 8 | 2" in text
    assert "3 (1.50 x)" in text
    assert "absent" in text
    assert "copy 4000 GB/s" in text
    assert len(list(tmp_path.iterdir())) == 2  # nothing unfinished is left

    again = record.Record("python", "run 1", tmp_path)
    assert again.finished("attention") == {"8 x 8"}
    again.start("attention", "Attention", ["a note"], YARDSTICKS)
    again.add("attention", {**ROW, "case": "9 x 9"})
    assert (
        len(json.loads(again.path.read_text(encoding="utf-8"))["tables"]["attention"]["rows"]) == 2
    )

    later = record.Record("python", "run 2", tmp_path)
    assert later.finished("attention") == set()
    later.start("layer_norm", "Layer norm", [], YARDSTICKS)
    later.add("layer_norm", ROW)
    later.start("attention", "Attention", [], YARDSTICKS)
    later.add("attention", ROW)
    later.add("attention", {**ROW, "case": "tuned", "milliseconds": {OURS: 1.0, "blocks": 2.0}})
    text = later.path.with_suffix(".md").read_text(encoding="utf-8")
    assert text.count("| case") == 3  # rows of other contenders have a table of their own
    assert "| tuned | 1 " in text
    tables = json.loads(later.path.read_text(encoding="utf-8"))["tables"]
    assert [len(table["rows"]) for table in tables.values()] == [2, 1]

"""The GPU training benchmark without a GPU: every path, its clock, its verdicts, its record."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.gpu_day import rows
from benchmarks.gpu_day.pool import Here
from benchmarks.kernels.measure import OURS, GPUFailed, Machine
from benchmarks.training_gpu import __main__ as program
from benchmarks.training_gpu import gpt2, overhead, race, record, shakespeare, simclr, twins
from benchmarks.training_gpu.race import EAGER, Result
from minissl.autograd.fused import gpu
from minissl.models.gpt import GPTConfig
from minissl.training import History

ROOT = Path(__file__).parents[2]
LATE, NEVER = 4e9, 0.0  # moments of time


def benchmark(*words):
    command = [sys.executable, "-m", "benchmarks.training_gpu", *words]
    quiet = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", env=quiet)


def test_every_path_runs_without_a_gpu_and_writes_nothing():
    before = sorted((ROOT / "benchmarks" / "results").iterdir())
    done = benchmark("--dry-run")
    assert done.returncode == 0, done.stderr
    assert sorted((ROOT / "benchmarks" / "results").iterdir()) == before
    text = done.stdout
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        f"## {module.TITLE}" for module in (gpt2, overhead, simclr, shakespeare)
    ]
    rows = [line.split("|") for line in text.splitlines() if OURS in line and line.startswith("|")]
    assert [float(row[2 if "float" not in row[1] else 3]) > 0 for row in rows] == [True] * 4
    assert "wrong" not in text
    assert "Error" not in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_what_is_missing():
    done = benchmark()
    assert done.returncode == 2
    assert "sees no GPU" in done.stderr
    assert "--dry-run" in done.stderr


def test_help_and_bad_arguments(monkeypatch, capsys):
    def said(*words):
        monkeypatch.setattr(sys, "argv", ["training_gpu", *words])
        with pytest.raises(SystemExit):
            program.arguments()
        return "".join(capsys.readouterr())

    assert "python -m benchmarks.training_gpu shakespeare --shakespeare input.txt" in said("-h")
    assert "no table named gpt3" in said("gpt3")
    assert "no file absent.txt" in said("--shakespeare", "absent.txt")


# ---- the clock ----------------------------------------------------------------------------------


def trains(calls, name, per_step=1):
    def build():
        def train(steps, mark):
            calls.append((name, steps))
            for _ in range(steps):
                for _ in range(per_step):
                    mark()
            return [1.0] * steps

        return train

    return build


def test_steps_are_timed_in_a_row_and_contenders_in_turn(imagined_gpu):
    calls = []
    contenders = {OURS: trains(calls, "a"), EAGER: trains(calls, "b")}
    *_, results = race.race(imagined_gpu, contenders, LATE)
    assert [r.milliseconds for r in results.values()] == [7.0, 7.0]
    assert [r.peak_gigabytes for r in results.values()] == [3.5, 3.5]
    assert [len(r.losses) for r in results.values()] == [race.WARMUP + 2] * 2
    together = calls[-2 * race.ROUNDS :]
    assert [name for name, _ in together] == list("ab" * race.ROUNDS)
    assert {steps for _, steps in together} == {102}  # 100 of 7 ms are within the 0.8 s of a block


def test_one_that_fails_is_a_reason_and_the_others_go_on(imagined_gpu):
    def fails():
        raise torch.OutOfMemoryError("tried to allocate 137 GiB")

    calls = []

    def late():
        def train(steps, mark):
            calls.append(mark())
            if len(calls) > 3:
                raise ValueError("late")
            [mark() for _ in range(steps - 1)]
            return [1.0]

        return train

    contenders = {OURS: trains([], "a"), EAGER: fails, "late": late, "b": trains([], "b")}
    seen = [
        {name: result.milliseconds for name, result in results.items()}
        for results in race.race(imagined_gpu, contenders, LATE)
    ]
    assert seen[0] == {OURS: 7.0}
    assert seen[-1] == {OURS: 7.0, EAGER: "out of memory", "late": "ValueError: late", "b": 7.0}
    assert len(calls) == 4
    *_, results = race.race(imagined_gpu, {OURS: trains([], "a"), "last": fails}, LATE)
    assert results[OURS].rounds == race.ROUNDS  # though the others' last round never came
    (results,) = race.race(imagined_gpu, {OURS: fails}, NEVER)
    assert results[OURS].milliseconds == "no time left"
    row = gpt2.rows({OURS: Result(7.0, 3.5, [2.0]), EAGER: Result("out of memory")}, 10)[0]
    assert row["cells"]["tokens per second"] == "1,429"
    assert row["verdicts"]["speed, reach"] == "unknown: no torch eager"


def test_a_batch_in_parts_is_one_step():
    marked, method = [], SimpleNamespace(model=None, loss=None, represent=None)
    one = race.OneBatch(method, "batch", 3)
    one.mark = lambda: marked.append(None)
    assert [one.batch(None) for _ in range(6)] == ["batch"] * 6
    assert len(marked) == 2


def test_memory_decides_in_how_many_parts(imagined_gpu, monkeypatch):
    def parts(gigabytes):
        properties = SimpleNamespace(total_memory=gigabytes * 1e9)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
        return gpt2.parts(imagined_gpu)

    assert [parts(n) for n in (150, 80, 48, 24)] == [1, 1, 2, 4]
    assert gpt2.config(imagined_gpu).num_parameters() == 124_475_904  # 124.4 million and padding


# ---- the peers do the same as ours --------------------------------------------------------------


def test_both_train_alike_in_float32(monkeypatch):
    """The same losses, step after step: the forward pass, the gradients, clipping and AdamW."""
    monkeypatch.setattr(gpu, "_interpreted", lambda: False)
    machine = Machine(dry=True)
    for name, value in {"precision": "float32", "lr": 0.05, "clip": 0.3}.items():
        monkeypatch.setitem(gpt2.SETTINGS, name, value)  # decay and clipping that can be seen
    pairs = [
        (gpt2.ours(machine), gpt2.in_torch_too(machine, compiled=False)),
        [train(machine, "float32") for train in (simclr.ours, simclr.in_torch_too)],
    ]
    for pair in pairs:
        mine, theirs = (train(5, lambda: None) for train in pair)
        assert np.allclose(mine, theirs, rtol=2e-5)
        assert mine[-1] < mine[0]


def test_the_gpt_with_dropout_is_the_one_without_when_it_evaluates():
    config = GPTConfig(
        num_layers=2, width=8, num_heads=2, vocab_size=11, context_length=6, dropout=0.5
    )
    with_dropout, without = twins.DropoutGPT(config), twins.TorchGPT(config)
    without.load_state_dict(with_dropout.state_dict())
    tokens = torch.arange(10).reshape(2, 5)
    expected = without(tokens)
    assert torch.allclose(with_dropout.eval()(tokens), expected, atol=1e-6)
    assert not torch.allclose(with_dropout.train()(tokens), expected, atol=1e-2)
    unbiased = twins.DropoutGPT(GPTConfig(**{**vars(config), "bias": False}))
    assert {n for n in unbiased.state_dict() if "bias" in n and "norm" not in n} == set()


def test_shakespeare_is_held_out_in_windows_without_a_past(monkeypatch):
    monkeypatch.setattr(gpu, "_interpreted", lambda: False)
    machine = Machine(dry=True)
    text = shakespeare.read(machine, None)
    method = shakespeare.new_method(machine, text)
    assert len(method.held_out) == 42
    assert len(method.stream) == 378
    method.model.eval()

    def nats(start):
        """Of each of the 8 tokens after this window's first, by torch."""
        logits = torch.from_numpy(method.model(method.held_out[None, start : start + 8]).numpy())
        targets = torch.from_numpy(method.held_out[start + 1 : start + 9])
        return torch.nn.functional.cross_entropy(logits[0], targets, reduction="none").tolist()

    expected = [loss for start in range(0, 40, 8) for loss in nats(start)] + nats(33)[-1:]
    assert method.evaluate()["held_out_loss"] == pytest.approx(np.mean(expected), rel=1e-5)


# ---- waiting ------------------------------------------------------------------------------------


def test_overlapping_kernels_count_once():
    assert overhead.union([(0, 10), (2, 5), (8, 12), (20, 21)]) == 13
    events = [("a", (0.0, 9000.0)), ("b", (1000.0, 9500.0)), ("a", (10000.0, 20000.0))]
    row = overhead.row(10.25, events, steps=2)
    assert row["cells"]["busy"] == 9.75
    assert row["idle"] == pytest.approx(0.5 / 10.25)
    assert row["cells"]["idle, profiled"] == "2.5%"
    assert row["verdicts"] == {"idle, reach": "yes: 4.9% of at most 5%",
                               "idle, aim": "no: 4.9% of at most 2%"}  # fmt: skip
    assert row["milliseconds_by_kernel"] == {"a": 9.5, "b": 4.25}
    assert "saw nothing" in overhead.row(10.0, [], steps=2)["cells"]["idle"]


def test_ranges_that_are_no_work_are_left_out():
    assert overhead.waits(SimpleNamespace(name="step", is_user_annotation=True))
    assert overhead.waits(SimpleNamespace(name="Stream Sync", is_user_annotation=False))
    assert not overhead.waits(SimpleNamespace(name="gemm", is_user_annotation=False))


# ---- verdicts and record ------------------------------------------------------------------------


def test_a_wrong_first_loss_has_no_speed():
    results = {OURS: Result(7.0, 2.0, [2.0, 1.0]), EAGER: Result(14.0, 4.0, [2.01, 1.0])}
    assert race.agreed(results, EAGER, 0.01) == ""
    row, peer = gpt2.rows(results, tokens=1000)
    assert row["verdicts"]["speed, reach"].startswith("no: wrong: the first loss is 2.00000")
    assert row["verdicts"]["memory, aim"] == "yes: 0.50 x torch eager's"
    assert race.less_memory(results, EAGER, 0.4).startswith("no")
    assert row["cells"]["x torch eager"] == "2.00"
    assert peer["cells"]["x its memory"] == "1.00"
    assert simclr.rows(results, "bfloat16", 512)[0]["verdicts"]["bfloat16, reach"].startswith("no")


def test_the_whole_run_is_judged_by_its_best_loss():
    records = [{"step": s, "held_out_loss": v, "seconds": 60.0} for s, v in ((0, 4.2), (5, 1.475))]
    results = {OURS: Result(7.0), EAGER: Result(14.0)}
    ours, peer = shakespeare.rows(results, History([*records, {**records[0], "step": 9}]))
    assert ours["cells"]["best loss"] == "1.4750 (step 5)"
    assert ours["cells"]["last loss"] == "4.2000"
    assert ours["verdicts"]["loss, reach"] == "yes: 1.4750 of at most 1.48"
    assert ours["verdicts"]["loss, aim"] == "no: 1.4750 of at most 1.47"
    assert peer["cells"]["seconds"] == "70 (steps)"


def test_the_record_is_on_disk_at_once_and_other_tables_stay(imagined_gpu, tmp_path):
    first = record.TrainingRecord("python -m a", "run 1", tmp_path)
    row = {"case": "a", "cells": {"step": "minissl", "ms": 7.0}, "verdicts": {"reach": "yes"}}
    first.put("gpt2", "GPT-2", ["a note"], [row])
    first.put("gpt2", "GPT-2", ["a note"], [row, {"case": "b", "cells": {"step": "t", "ms": "-"}}])
    assert first.path == tmp_path / "training_nvidia_h200.json"
    again = record.TrainingRecord("python -m b", "run 2", tmp_path)
    again.put("simclr", "SimCLR", [], [row])
    text = first.path.with_suffix(".md").read_text(encoding="utf-8")
    assert text.startswith("# Training on NVIDIA H200\n\n## GPT-2\n\n| step")
    for part in ("| minissl | 7 ", "- reach: yes", "- a note", "driver", "`python -m a`", "SimCLR"):
        assert part in text
    assert {*json.loads(first.path.read_text(encoding="utf-8"))["tables"]} == {"gpt2", "simclr"}
    assert len([*tmp_path.iterdir()]) == 2  # nothing unfinished is left


def test_each_table_is_a_job_and_without_its_text_shakespeare_is_left_out(monkeypatch, capsys):
    calls = []

    def measure_tables(commands, given, **settings):
        calls.append([*commands.values()])
        return 0

    monkeypatch.setattr(program, "missing", lambda: "")
    monkeypatch.setattr(program, "measure_tables", measure_tables)
    monkeypatch.setattr(sys, "argv", ["training_gpu", "--minutes", "5"])
    assert program.main() == 0
    assert calls == [
        [f"python -m benchmarks.training_gpu {name} --minutes 5"
         for name in ("gpt2", "overhead", "simclr")]
    ]  # fmt: skip
    assert "left out, no --shakespeare" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["training_gpu", "shakespeare"])
    assert program.main() == 2


def test_after_the_gpu_has_failed_the_table_ends(monkeypatch, tmp_path):
    def measure(machine, until):
        raise GPUFailed("not measured, the GPU had failed")
        yield

    monkeypatch.setattr(overhead, "measure", measure)
    said = []
    job = {"group": rows.Group("overhead"), "done": [], "path": tmp_path, "records": tmp_path,
           "dry": True, "run": "run 1", "until": LATE, "command": "python"}  # fmt: skip
    with pytest.raises(SystemExit):
        rows.work(job, Here(lambda part, how, seconds: said.append((part, how))))
    assert said == [("overhead", "FAILED: nothing runs on the GPU in this process any more")]

"""Every launch, compiled for GPUs that are not here: what the interpreter cannot tell.

Fourteen of 33 constructs that run interpreted do not compile; and a kernel may compile and still
be slow: registers spilled to memory, matrix units unused, narrow loads, or shared memory that no
chip has. The compiler runs in a process of its own, for launches that have changed since the table
was written and for a few more, see ``compile_table``.
"""

import dataclasses
import difflib
import json
import secrets
import warnings
from fnmatch import fnmatch
from pathlib import Path

import pytest
from minissl_kernels.launch import interpreted

from tests.kernels import child
from tests.kernels.compile_report import SHARED_LIMIT, Row
from tests.kernels.compile_table import (
    BY_HAND,
    as_json,
    read_json,
    sources_line,
    stem,
    table,
    version_line,
)

HERE = Path(__file__).parent
HARNESS = "tests.kernels.compile_harness"
DRAWN = 2  # rows of each target that are compiled again in every run, whatever their hashes say

pytestmark = pytest.mark.skipif(not interpreted(), reason="on a GPU the kernels themselves compile")


@dataclasses.dataclass
class Allowed:
    """A problem that is known, and why it may stay; names may hold ``*``."""

    problem: str  # "compile", "spills", "matrix", "loads" or "shared"
    module: str
    launch: str
    kernel: str
    target: str
    why: str
    most: int = 0  # spills

    def covers(self, row, problem):
        names = ("module", "launch", "kernel", "target")
        same = all(fnmatch(getattr(row, name), getattr(self, name)) for name in names)
        return same and problem == self.problem and (not self.most or row.spills <= self.most)


NVIDIA = "tuned for NVIDIA; on AMD it need only compile"
CANDIDATE = "a candidate, not what ships: it is measured before it is chosen"
ODD = "rows of an odd length do not start at multiples of 16 bytes"
DRAWS = "ten rounds of Philox for every weight, beside two accumulators"
WIDE = "two accumulators of width 256 leave room for tiles of 32 rows, wgmma takes 64"
ONES = "there is no more than one number to load, and no tile to fill"
MEASURED = "outside the loop of full tiles, and 1.06 to 1.29 x as fast as tiles without, on an H200"
FOURTH = "two values, for a fourth program: 1.05 x as fast on an H200"
THREE = "float32 takes three TF32 products each, and their operands are registers"
ALLOWED = [
    Allowed("spills", "*", "*", "*", "gfx942", NVIDIA),
    Allowed("loads", "*", "*", "*", "gfx942", NVIDIA),
    Allowed("spills", "*", "*candidate*", "*", "sm_*", CANDIDATE),
    Allowed("loads", "cross_entropy", "*50257", "*", "*", ODD),
    Allowed("loads", "cross_entropy", "*one class", "*", "*", ODD),
    Allowed("loads", "*", "*sizes of 1*", "*", "sm_*", ONES),
    Allowed("matrix", "*", "*sizes of 1*", "*", "sm_90", ONES),
    Allowed("spills", "attention", "*sizes of 1", "forward_kernel", "sm_9*", ONES, most=2),
    Allowed("loads", "linear_cross_entropy", "*517", "_labels_*", "*", ODD),
    Allowed("loads", "contrastive", "*", "combine_kernel", "*", "a few numbers of each row"),
    Allowed("spills", "attention", "*all features", "*_kernel", "sm_*", DRAWS, most=130),
    Allowed("spills", "attention", "*dropout", "key_value_kernel", "sm_*", DRAWS, most=25),
    Allowed("spills", "attention", "*16 width *", "key_value_kernel", "sm_90", MEASURED, most=190),
    Allowed("spills", "attention", "*width 64 causal", "forward_kernel", "sm_90", FOURTH, most=2),
    Allowed("spills", "cross_entropy", "*50257", "_labels_backward", "sm_8*", "two values", most=2),
    Allowed("spills", "attention", "*fp32*", "forward_kernel", "sm_80", "two values", most=2),
    Allowed("spills", "attention", "*fp32*", "row_sums_kernel", "sm_90", "two values", most=2),
    Allowed("spills", "attention", "*fp32 width 128*", "*_kernel", "sm_*", THREE, most=10),
    Allowed("matrix", "attention", "*width 256*", "key_value_kernel", "sm_90", WIDE),
]


def problems(row):
    """What is wrong with a compiled kernel: {"spills": "38 spills", ...}."""
    if row.error:
        return {"compile": row.error}
    found = {}
    if row.spills:
        found["spills"] = f"{row.spills} spills"
    if row.shared > SHARED_LIMIT[row.target]:
        limit = SHARED_LIMIT[row.target] // 1024
        found["shared"] = f"{row.shared / 1024:.0f} KB of shared memory, the chip has {limit}"
    if row.dots and not row.matrix_count:
        found["matrix"] = "tl.dot without matrix units"
    hopper = row.target == "sm_90"
    if hopper and row.dots and row.dot_bits == 16 and row.matrix_unit != "wgmma":
        found["matrix"] = f"{row.matrix_unit} instead of wgmma: a block of fewer than 64 rows?"
    if hopper and row.ptx_target != "sm_90a":
        found["matrix"] = f"compiled for {row.ptx_target}, which has no wgmma"
    if "16" not in row.loads:
        found["loads"] = f"no load of 16 bytes, only {row.loads}: not divisible by 16?"
    return found


def test_every_launch_is_covered():
    """Each module of kernels has its launches here."""
    folder = child.ROOT / "kernels" / "minissl_kernels"
    sources = [path for path in folder.rglob("*.py") if "@triton.jit" in path.read_text("utf-8")]
    names = {path.relative_to(folder).parts[0].removesuffix(".py") for path in sources}
    with_launches = {path.stem.removeprefix("launches_") for path in HERE.glob("launches_*")}
    launched_by_others = {"layer_norm_wide", "matmul"}
    assert names - launched_by_others | {"linear_cross_entropy"} == with_launches


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default:old hashes")
@pytest.mark.parametrize("target", SHARED_LIMIT)
def test_every_launch_compiles_well(target, tmp_path):
    """No problem but the allowed ones, and the numbers of the kept table."""
    seed = secrets.randbelow(10**6)
    trust = ["--trust", str(HERE / f"{stem()}.json"), "--draw", str(DRAWN), "--seed", str(seed)]
    again = f"python -m {HARNESS} --target {target} " + " ".join(trust)
    print(again)
    print(child.python("-m", HARNESS, "--target", target, *trust, "--table", str(tmp_path)))
    rows = read_json(tmp_path / f"{stem()}.json")
    assert rows
    unused = [a for a in ALLOWED if fnmatch(target, a.target)]
    wrong = []
    for row in rows:
        for problem, text in problems(row).items():
            covering = [allowed for allowed in ALLOWED if allowed.covers(row, problem)]
            unused = [allowed for allowed in unused if allowed not in covering]
            if not covering:
                wrong.append(f"{row.module}, {row.launch}, {row.kernel}, {target}: {text}")
    assert not wrong, "\n".join(wrong)
    assert not [a for a in unused if a.target == target], "allowed, but no longer needed"
    compare_with_kept_table(rows, target, again)


def compare_with_kept_table(rows, target, again, folder=HERE):
    """Where the compiler is another one, the numbers are as well: then nothing is compared.

    ``again``: the command, with its seed, that compiles the same rows.
    """
    text = (folder / f"{stem()}.md").read_text(encoding="utf-8")
    if version_line() not in text.splitlines():
        return
    kept = [row for row in read_json(folder / f"{stem()}.json") if row.target == target]
    without = [[dataclasses.replace(row, hash="") for row in some] for some in (kept, rows)]
    for file, old, new in (
        (f"{stem()}.md", text, table(rows)),
        (f"{stem()}.json", as_json(without[0]), as_json(without[1])),
    ):
        old, new = (lines_of(target, lines) for lines in (old, new))
        assert new == old, (
            f"kernels changed; `make kernel-table` rewrites the table. {file}:\n"
            + "\n".join(difflib.unified_diff(old, new, "kept", "compiled now", lineterm="", n=0))
            + f"\nAgain: {again}"
        )
    old = len({row.hash for row in rows} - {row.hash for row in kept})
    if old:
        warnings.warn(
            f"old hashes in {stem()}.json: {old} of {len(rows)} rows for {target} were compiled, "
            "and are as before; `make kernel-table` lets the next run trust them",
            stacklevel=1,
        )


@pytest.mark.parametrize("version", BY_HAND)
def test_the_table_of_another_version_is_of_these_sources(version):
    """That triton is not here: a hash ties its table to the sources."""
    name = stem(f"{version}.0")
    lines = (HERE / f"{name}.md").read_text(encoding="utf-8").splitlines()
    assert sources_line() in lines, (
        f"the kernels or their launches changed after {name}.md was written. "
        "`make kernel-table TABLE_PYTHON=PYTHON` writes it again, PYTHON being that of an "
        f"environment with triton {version} (torch 2.11 and numpy beside it; no GPU is needed)"
    )
    failed = [row for row in read_json(HERE / f"{name}.json") if row.error]
    assert not [row for row in failed if row.target.startswith("sm_")]


def lines_of(target, text):
    """The rows for one target; the last of a JSON list has no comma."""
    signs = (f"| {target} |", f'"target": "{target}"')
    return [line.rstrip(",") for line in text.splitlines() if any(sign in line for sign in signs)]


def test_bad_compilations_are_noticed():
    """Planted: each launch is labelled with the problem it must be found to have."""
    code = """
        import dataclasses, json
        from tests.kernels import compile_harness, planted_compiles
        compile_harness.keep_compiled_kernels()
        rows = compile_harness.rows_of(planted_compiles, "sm_90")
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
        """
    rows = [Row(**row) for row in json.loads(child.run(code))]
    found = {row.launch: list(problems(row)) for row in rows}
    bad = ["compile", "spills", "matrix", "loads", "shared"]
    assert found == {"good": []} | {problem: [problem] for problem in bad}

"""What a compiled kernel says about its speed, read from its machine code: one row each.

Registers and shared memory decide how many programs one multiprocessor holds at a time; spills
are registers that went to memory; the matrix units are used if wgmma (Hopper), mma.sync (before)
or v_mfma (AMD) stand in the code; a load of 16 bytes moves as much as eight of one bfloat16.
"""

import dataclasses
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from triton import knobs

SHARED_LIMIT = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "gfx942": 64 * 1024}  # of one program


@dataclasses.dataclass
class Row:
    """A kernel, compiled as one launch asks for it, on one target."""

    kernel: str
    launch: str
    target: str
    module: str = ""  # launches_<module>.py
    error: str = ""  # why it does not compile
    warps: int = 0
    stages: int = 0
    registers: int = 0
    spills: int = 0
    shared: int = 0  # bytes
    dots: int = 0  # tl.dot in Triton's own representation
    dot_bits: int = 0  # of the operands; the narrowest
    matrix_unit: str = ""
    matrix_count: int = 0
    loads: dict[str, int] = dataclasses.field(default_factory=dict)  # bytes -> instructions
    loops: list[int] = dataclasses.field(default_factory=list)  # instructions, longest first
    programs: int = 0
    ptx_target: str = ""
    hash: str = ""  # see compile_table.py


def read(kernel, row: Row) -> Row:
    """Fill the row of a ``triton.compiler.CompiledKernel``."""
    row.warps, row.stages = kernel.metadata.num_warps, kernel.metadata.num_stages
    row.shared = kernel.metadata.shared
    operands = re.findall(r"tt\.dot .*?: tensor<(?:\d+x)+\D+(\d+)>", kernel.asm["ttir"])
    row.dots, row.dot_bits = len(operands), min(map(int, operands), default=0)
    return read_nvidia(kernel, row) if "cubin" in kernel.asm else read_amd(kernel, row)


def read_nvidia(kernel, row: Row) -> Row:
    """From PTX, the portable assembly, and SASS, which the chip runs."""
    sass = disassemble(kernel.asm["cubin"])
    row.ptx_target = re.search(r"\.target (\w+)", kernel.asm["ptx"])[1]
    row.registers = int(re.search(r"REG:(\d+)", sass)[1])
    row.spills = len(re.findall(r"\s(?:LDL|STL)\b", sass))
    for unit, instruction in (("wgmma", "HGMMA"), ("mma.sync", "HMMA")):
        count = len(re.findall(rf"\s{instruction}\b", sass))
        if count and not row.matrix_unit:
            row.matrix_unit, row.matrix_count = unit, count
    loads = re.findall(r"\s(?:LDG|LDGSTS)\.([\w.]+)", sass)  # to registers, to shared memory
    row.loads = dict(Counter(map(sass_bytes, loads)))
    row.loops = loops(sass)
    row.programs = resident(row)
    return row


SPIN = 16  # a loop of fewer instructions waits for something


def loops(sass: str) -> list[int]:
    """The number of instructions in each innermost loop, the longest first.

    A loop lies between a branch backwards and its target. Behind the last EXIT are only waits for
    a copy, which branch back to where they were called.
    """
    lines = re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;", sass, re.M)
    while lines and not lines[-1][1].endswith("EXIT"):
        lines.pop()
    number = {int(address, 16): i for i, (address, _) in enumerate(lines)}
    found = set()
    for i, (_, instruction) in enumerate(lines):
        target = re.search(r"\bBRA\b.* (0x[0-9a-f]+)", instruction)
        first = number.get(int(target[1], 16), i + 1) if target else i + 1
        if i - first >= SPIN:
            found.add((first, i))
    inner = [a for a in found if not any(a[0] <= b[0] and b[1] <= a[1] for b in found - {a})]
    return sorted((last - first + 1 for first, last in inner), reverse=True)


def disassemble(cubin: bytes) -> str:
    """Resource usage and SASS, by the tools in triton's wheel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", "--dump-sass", file.name]
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout


def sass_bytes(modifiers: str) -> str:
    """The bytes that LDG.E.128 or LDG.E.U16.CONSTANT moves for one thread."""
    for width, text in ((16, "128"), (8, "64"), (2, "U16"), (2, "S16"), (1, "U8"), (1, "S8")):
        if text in modifiers.split("."):
            return str(width)
    return "4"


def resident(row: Row) -> int:
    """How many programs fit: 65,536 registers, 64 warps, 32 blocks, the shared memory."""
    registers = -(-row.registers // 8) * 8 * 32 * row.warps
    shared = row.shared + 1024  # the system keeps 1 KB beside each
    memory = SHARED_LIMIT[row.target] + 1024
    return min(65536 // registers, 64 // row.warps, memory // shared, 32)


AMD_LOADS = {"dwordx4": 16, "dwordx3": 12, "dwordx2": 8, "dword": 4, "ushort": 2, "short": 2,
             "sshort": 2, "ubyte": 1, "sbyte": 1}  # fmt: skip


def read_amd(kernel, row: Row) -> Row:
    """From the notes and instructions of the GCN assembly."""
    code = kernel.asm["amdgcn"]

    def note(name: str) -> int:
        found = re.search(rf"\.{name}:\s+(\d+)", code)
        return int(found[1]) if found else 0

    row.registers = note("vgpr_count")
    row.spills = note("vgpr_spill_count") + note("sgpr_spill_count")
    row.matrix_count = len(re.findall(r"\bv_mfma", code))
    row.matrix_unit = "v_mfma" if row.matrix_count else ""
    found = re.findall(r"\b(?:global|buffer|flat)_load_([a-z]+?(?:x\d)?)(?:_d16\w*)?\s", code)
    row.loads = dict(Counter(str(AMD_LOADS[name]) for name in found if name in AMD_LOADS))
    return row

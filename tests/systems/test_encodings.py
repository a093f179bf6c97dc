"""Commands print what they have to say on systems whose encoding is not UTF-8."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# Python as it is on a Windows of Western Europe, and in the C locale without its own cure.
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
EVERY_HELP = r"""\
import sys
from minissl.cli import command_names, main
for command in command_names():
    try:
        main([command, "--help"])
    except SystemExit as end:
        assert end.code == 0, command
codes = [main(arguments.split()) for arguments in sys.argv[1:]]
print(sys.stdout.encoding, codes, "\u03a9\u03a9")
print("\u2026", file=sys.stderr)
"""
COMMANDS = ["claim --list", "homework list", "data list", "sample no-run-≤", "--version"]


def environment(**changes):
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONIOENCODING", "NO_COLOR")}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    return {**kept, "PYTHONPATH": paths, **C_LOCALE, **changes}


def last_line(out):
    """The last line that was printed; on Windows a line ends otherwise."""
    return out.rstrip(b"\r\n").rpartition(b"\n")[2]


@pytest.mark.parametrize("asked", ["", "cp1252"])
def test_every_command_prints_into_pipes(asked):
    """UTF-8 unless another encoding is asked for, which loses characters and nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", EVERY_HELP, *COMMANDS],
        capture_output=True,
        env=environment(PYTHONIOENCODING=asked),
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0
    encoding, omega = (asked, "?") if asked else ("utf-8", "Ω")
    line = f"{encoding} [0, 0, 0, 1, 0] {omega * 2}"
    assert last_line(done.stdout).decode(encoding) == line
    assert last_line(done.stderr).decode(encoding) == "…"


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
def test_a_terminal_keeps_its_encoding():
    import pty

    ours, theirs = pty.openpty()
    program = r"from minissl.cli import main; main(['--version']); print('a \u03a9')"
    done = subprocess.run([sys.executable, "-c", program], stdout=theirs, env=environment())
    os.close(theirs)
    assert done.returncode == 0
    assert last_line(os.read(ours, 1000)) == b"a ?"
    os.close(ours)

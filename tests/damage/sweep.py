"""``python -m tests.damage.sweep KIND ...``: damage files, read them, and print what went wrong.

In a process of its own, with little memory and little time. Every program that it starts, every
connection and every file that it writes elsewhere is noticed.
"""

import json
import os
import random
import resource
import signal
import sys
import tempfile
import warnings
from pathlib import Path

from tests.damage.mutations import damaged
from tests.damage.readers import READERS

SECONDS = 20  # for one file
MEMORY = 256 << 20  # more than there was before the first
PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn"}
PROGRAMS |= {"os.startfile", "socket.connect", "pickle.find_class", "pty.spawn", "ctypes.dlopen"}
WRITES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}


def main(kinds):
    """Sweep over some kinds of readers; JSON of how many files each had, and every fault."""
    # In memory where there is such a folder: each truncated file would wait for the disk.
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as place:
        work, events = Path(place).resolve(), []
        made = {kind: READERS[kind](work / kind) for kind in kinds}
        for reader in made.values():
            reader.read()  # what it imports and allocates is no damage; and a whole file is read
            reader.restore()
        os.fsync = lambda descriptor: None
        watch(work, events)
        _limit_memory()
        report = {kind: sweep(kind, reader, events) for kind, reader in made.items()}
        events.append(None)  # no more is watched
    print(json.dumps(report))


def sweep(kind, reader, events):
    """How many damaged files were read and refused, and what was wrong, of one reader."""
    rng = random.Random(kind)
    whole = reader.whole
    others = [b"PK\x03\x04", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", *whole.values()]
    often = [4 if kind == "json" else 1 for kind in reader.files.values()]  # they say the most
    counts = {"read": 0, "refused": 0}
    faults = []
    for number in range(reader.count):
        path = rng.choices(list(whole), often)[0]
        data = damaged(whole[path], reader.files[path], rng, others)
        path.write_bytes(data)
        reader.seal(path)
        said = look(reader, path)
        counts["read" if said is None else "refused"] += 1
        wrong = [event for event in events if event]
        if said and said[0]:
            wrong.append(said[1])
        if wrong:
            faults.append([number, path.name, data[:300].decode("latin-1"), wrong])
        events.clear()
        reader.restore()
    return {**counts, "faults": faults}


def look(reader, path):
    """None when the files were read; else whether the error is a fault, and what it says."""
    from minissl.training import CheckpointError

    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            reader.read()
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        named = any(str(place) in str(error) for place in (path, *reader.names))
        kinds = (ValueError, OSError, CheckpointError)
        if isinstance(error, UnicodeError) or not isinstance(error, kinds) or not named:
            return True, said
        return False, said
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    for warning in caught:
        if reader.names[0].name not in str(warning.message):
            return True, f"warns without a name: {warning.message}"
    return None


def watch(work, events):
    """Note every program that is started and every write outside of the folder."""

    def hook(event, arguments):
        if events and events[-1] is None:
            return
        if event in PROGRAMS:
            events.append(f"{event} {arguments!r:.200}")
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        if (writes or event in WRITES) and isinstance(arguments[0], str | bytes | os.PathLike):
            target = os.path.join(_folder_of(event, arguments), os.fsdecode(arguments[0]))
            if not target.startswith(str(work)) and target != os.devnull:
                events.append(f"{event} {target}")

    sys.addaudithook(hook)


def _folder_of(event, arguments):
    """Where a relative path begins: ``rmtree`` gives the descriptor of an open folder."""
    descriptor = arguments[-1] if event in ("os.remove", "os.rmdir", "os.mkdir") else -1
    return os.readlink(f"/proc/self/fd/{descriptor}") if descriptor >= 0 else os.getcwd()


def _limit_memory():
    status = Path("/proc/self/status")
    if status.exists():
        used = next(
            int(line.split()[1])
            for line in status.open(encoding="utf-8")
            if line.startswith("VmData")
        )
        resource.setrlimit(resource.RLIMIT_DATA, (used * 1024 + MEMORY,) * 2)


def _too_long(*_):
    raise AssertionError(f"took more than {SECONDS} s")


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _too_long)
    main(sys.argv[1:])

"""Looked for in every source: names that some systems lack, and text without an encoding."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FOLDERS = ("minissl", "kernels", "docs", "benchmarks", "lectures", "notebooks", "tests")
FILES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
LIBRARY = [f for f in FILES if f.relative_to(ROOT).parts[0] in ("minissl", "kernels", "docs")]

MODULES = {
    "crypt", "fcntl", "grp", "msvcrt", "nis", "posix", "pty", "pwd", "resource", "syslog",
    "termios", "triton", "tty", "winreg", "winsound",
}  # fmt: skip
NAMES = {
    "os": """O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_TMPFILE WNOHANG chown chroot fchmod fchown fork
        forkpty getegid geteuid getgid getgroups getloadavg getpgid getpgrp getsid getuid initgroups
        kill killpg lchown link mkfifo mknod nice openpty posix_fadvise posix_spawn pread pwrite
        readlink sched_getaffinity sched_setaffinity sendfile setpgid setsid statvfs symlink sync
        sysconf uname wait waitpid""",
    "signal": """SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTERM SIGUSR1
        SIGUSR2 alarm pause pthread_kill pthread_sigmask setitimer sigwait""",
    "select": "epoll kqueue poll",
    "time": "tzset",
    "locale": "nl_langinfo setlocale",
    "socket": "AF_UNIX",
    "ctypes": "CDLL",
}
NAMES = {module: set(names.split()) for module, names in NAMES.items()}
METHODS = {"hardlink_to", "killpg", "send_signal", "symlink_to", "is_socket", "is_fifo"}
OPTIONS = {"preexec_fn", "start_new_session", "process_group", "pass_fds"}
FOLDERS_OF_UNIX = ("/proc", "/dev/", "/tmp", "/usr", "/etc", "libc.so")

# Where there is a way for the other systems, and which: all places that may use such names.
GUARDED = {
    # ``not_held_back`` says what is missing where these cannot be had
    "minissl/homework/keeper.py": {  # is started where there are process groups
        "/proc", "CDLL", "kill", "killpg", "SIGKILL", "waitpid", "WNOHANG", "resource",
        "preexec_fn", "start_new_session",
    },
    "minissl/homework/process.py": {  # behind POSIX
        "/proc", "kill", "killpg", "SIGKILL", "poll", "start_new_session",
    },
    "minissl/homework/child.py": {"resource"},  # ImportError: no limits
    "minissl/training/folder.py": {"fcntl", "msvcrt"},  # either, or the file is the lock
    "minissl/homework/interpreted.py": {"triton"},  # both are imported where triton is there
    "minissl/homework/watched.py": {"triton"},
    "minissl/vision/fitting.py": {"sysconf"},  # AttributeError: the memory is not known
    "minissl/durable.py": {"kill"},  # behind POSIX, which is defined there
    "minissl/conditions.py": {"/proc", "getloadavg"},  # None, and what ``platform`` says
    "minissl/demo/demo.py": {"send_signal"},  # behind POSIX
    "minissl/autograd/threads.py": {"sched_getaffinity"},  # cpu_count
    "minissl/autograd/allocation.py": {"CDLL", "libc.so"},  # False: the C library is not told
}  # fmt: skip


def guarded_names(tree):
    """The names, options and paths in a source that not every system has."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            of = [getattr(node, "module", None), *(alias.name for alias in node.names)]
            yield from {name.split(".")[0] for name in of if name} & MODULES
            yield from {name for name in of if name} & NAMES.get(of[0], set())
        elif isinstance(node, ast.Attribute):
            module = node.value.id if isinstance(node.value, ast.Name) else ""
            yield from {node.attr} & (NAMES.get(module, set()) | METHODS)
        elif isinstance(node, ast.keyword):
            yield from {node.arg} & OPTIONS
        elif isinstance(getattr(node, "value", None), str) and id(node) not in documentation:
            yield from (folder for folder in FOLDERS_OF_UNIX if node.value.startswith(folder))
            yield from {node.value} & MODULES - {"posix", "pty", "triton"}


def parsed(file):
    return ast.parse(file.read_text(encoding="utf-8"), file)


def test_what_not_every_system_has_is_used_where_the_others_have_a_way():
    """Also fails for a row above that is no longer needed."""
    found = {f.relative_to(ROOT).as_posix(): set(guarded_names(parsed(f))) for f in LIBRARY}
    for file in found:
        if file.startswith("kernels/"):  # whose import says what to do without it
            found[file].discard("triton")
    assert {file: names for file, names in found.items() if names} == GUARDED


def test_nothing_else_asks_which_system_this_is():
    """A difference between systems is a small place with a name, not a question everywhere."""
    asking = set()
    for file in LIBRARY:
        text = file.read_text(encoding="utf-8")
        if any(word in text for word in ("os.name", "sys.platform", "platform.system")):
            asking.add(file.relative_to(ROOT).as_posix())
    assert asking == {
        "minissl/autograd/allocation.py",  # glibc
        "minissl/homework/keeper.py",  # Linux's prctl
        "minissl/homework/process.py",  # which sentence
        "minissl/homework/submission.py",  # which advice for triton
    }


# ---- text has an encoding ------------------------------------------------------------------------


def argument(call, name, place):
    """The value of an argument of a call, where it is written out; None where there is none."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == name]
    given = given or call.args[place : place + 1]
    return given[0] if given else None


def is_text(mode):
    """Whether a file is opened as text; a mode that is computed is taken for bytes."""
    if mode is None:
        return True
    return isinstance(mode, ast.Constant) and set(str(mode.value)) <= set("rwaxt+")


def without_encoding(tree):
    """Calls that read or write text in the encoding of whatever system it is."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        options = {keyword.arg for keyword in node.keywords}
        if options & {"encoding", None}:  # None: **options
            continue
        own = isinstance(node.func, ast.Name)  # open(path), not path.open()
        name = node.func.id if own else getattr(node.func, "attr", "")
        if (
            (name == "open" and is_text(argument(node, "mode", 1 if own else 0)))
            or (name == "read_text" and not node.args)
            or (name in ("write_text", "TextIOWrapper") and len(node.args) < 2)
            or (
                name in ("run", "Popen", "check_output")
                and options & {"text", "universal_newlines"}
            )
        ):
            yield node.lineno


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("open(path)", True),
        ("open(path, 'rb')", False),
        ("open(path, 'w', newline='')", True),
        ("open(path, encoding='utf-8')", False),
        ("path.open()", True),
        ("path.open('wb')", False),
        ("archive.open(entry)", False),
        ("path.read_text()", True),
        ("path.write_text(text, 'utf-8')", False),
        ("path.write_text(text)", True),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command, capture_output=True)", False),
    ],
)
def test_the_sweep_sees(line, found):
    assert bool([*without_encoding(ast.parse(line))]) is found


def test_text_is_read_and_written_with_an_encoding():
    found = {str(file.relative_to(ROOT)): [*without_encoding(parsed(file))] for file in FILES}
    assert not {file: lines for file, lines in found.items() if lines}


def test_every_file_has_a_name_that_every_system_can_give():
    """No colon, no name of a device, none that differs from another by case alone."""
    reserved = {"con", "prn", "aux", "nul"} | {
        f"{port}{n}" for port in ("com", "lpt") for n in range(10)
    }
    ignored = (".git", ".venv", "build", "runs")
    paths = [
        p.relative_to(ROOT) for p in ROOT.rglob("*") if p.relative_to(ROOT).parts[0] not in ignored
    ]
    assert not [p for p in paths if set(p.name) & set('<>:"|?*\\') or p.stem.casefold() in reserved]
    assert len({str(path).casefold() for path in paths}) == len(paths)
    assert (
        max(len(str(path)) for path in paths) < 160
    )  # Windows ends at 260, with the clone's place

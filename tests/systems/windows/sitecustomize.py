"""Takes from a process on Linux what Windows lacks; Python imports it first where it finds it.

Whoever has this folder in PYTHONPATH, and every process that such a one starts with it, has no
``fcntl``, ``os.killpg``, ``signal.SIGKILL`` and the like, locks files as Windows does (``msvcrt``),
and is refused what Windows refuses: to remove or replace a file that is open, to open a folder, to
make a file with a colon in its name, to send a signal. Not imitated: paths with backslashes, lines
that end with CR LF. ``os.name`` stays "posix", since pathlib asks it.
"""

import errno
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import types

MODULES = ("fcntl", "resource", "termios", "tty", "pty", "pwd", "grp", "syslog", "triton")
NAMES = {
    os: """fork forkpty killpg setsid setpgid setpgrp getpgid getpgrp
        getsid geteuid getgid getegid getgroups getloadavg nice sync
        sched_getaffinity sched_setaffinity sched_yield chown lchown chroot mkfifo mknod fchmod
        fchown pread pwrite posix_fallocate posix_fadvise wait wait3 wait4
        O_NOFOLLOW O_DIRECTORY O_TMPFILE O_NONBLOCK""",
    signal: """SIGKILL SIGHUP SIGQUIT SIGALRM SIGCHLD SIGPIPE SIGSTOP SIGCONT SIGUSR1 SIGUSR2 alarm
        setitimer getitimer pause sigwait pthread_kill pthread_sigmask""",
    select: "poll epoll POLLIN",
}
RESERVED = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in "123"}


def locking(descriptor, mode, size):
    """Of ``msvcrt``. Nobody else could read the locked bytes, so they lie behind the text."""
    assert os.lseek(descriptor, 0, os.SEEK_CUR) >= os.fstat(descriptor).st_size + 1
    assert (mode, size) == (2, 1)
    try:
        flock(descriptor, EXCLUSIVE)
    except BlockingIOError:
        raise PermissionError(errno.EACCES, "Permission denied") from None


def open_here():
    """The files that this process has open, by device and number."""
    for number in listdir("/proc/self/fd"):
        try:
            found = fstat(int(number))
        except OSError:  # that of the list itself
            continue
        yield found.st_dev, found.st_ino


def refuse_if_open(path):
    """Raise PermissionError for a file that is open, and for a folder with one in it."""
    try:
        found = stat(path)
    except OSError:
        return
    places = {(found.st_dev, found.st_ino)}
    if isdir(path):
        files = (join(folder, name) for folder, _, names in walk(path) for name in names)
        places |= {(found.st_dev, found.st_ino) for found in map(os.lstat, files)}
    if not places.isdisjoint(open_here()):
        raise PermissionError(errno.EACCES, "it is open in this process", path)


def refuse_a_name(path):
    """Raise OSError for a name that cannot be given there."""
    name = os.fsdecode(os.path.basename(path))
    stem = name.split(".")[0].casefold()
    if set(name) & set('<>:"|?*\\') or stem in RESERVED or name.endswith((".", " ")):
        raise OSError(errno.EINVAL, "Windows has no such names", path)


def hook(event, arguments):
    """Refuse what Windows refuses; Python tells of every such call before it is made."""
    path = arguments[0] if arguments else None
    if isinstance(path, int) and event != "os.kill":
        return
    if event == "open" and not str(path).startswith(("/dev/", "/proc/")):
        if isdir(path):
            if arguments[1] is None:  # os.open; open() refuses it by itself
                raise PermissionError(errno.EACCES, "Permission denied", path)
        elif arguments[2] & os.O_CREAT:
            refuse_a_name(path)
    elif event == "os.mkdir":
        refuse_a_name(path)
    elif event in ("os.remove", "os.rmdir"):
        refuse_if_open(path)
    elif event == "os.rename":
        refuse_if_open(path)
        refuse_if_open(arguments[1])
        if isdir(arguments[1]):
            raise PermissionError(errno.EACCES, "Access is denied", arguments[1])
        refuse_a_name(arguments[1])
    elif event == "os.kill" and not ended_by_us:
        raise OSError(errno.EINVAL, "this would end the process, whatever the signal is")
    elif event == "os.symlink":
        raise OSError(errno.EPERM, "A required privilege is not held by the client")


def terminate(self):
    """As ``kill`` is on Windows."""
    if self.poll() is None:
        ended_by_us.append(self.pid)
        os.kill(self.pid, 9)
        ended_by_us.clear()


def refuse_preexec(self, *arguments, **options):
    """As Windows does; it passes over ``start_new_session``."""
    if options.get("preexec_fn") is not None:
        raise ValueError("preexec_fn is not supported on Windows platforms")
    options.pop("start_new_session", None)
    usual_popen(self, *arguments, **options)


ended_by_us = []
flock, EXCLUSIVE = fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB
fstat, stat, listdir, walk, isdir, join = (
    os.fstat, os.stat, os.listdir, os.walk, os.path.isdir, os.path.join,
)  # fmt: skip
usual_popen = subprocess.Popen.__init__
subprocess.Popen.__init__ = refuse_preexec
subprocess.Popen.kill = subprocess.Popen.terminate = terminate
shutil._use_fd_functions = False
tempfile.TemporaryFile = tempfile.NamedTemporaryFile
for module, names in NAMES.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
sys.modules.update(dict.fromkeys(MODULES))
sys.modules["msvcrt"] = types.ModuleType("msvcrt")
sys.modules["msvcrt"].LK_NBLCK, sys.modules["msvcrt"].locking = 2, locking
sys.addaudithook(hook)

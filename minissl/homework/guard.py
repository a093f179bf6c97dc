"""What a student's code calls while it is checked: the work of a task has to be the student's own.

Python tells a profile function of every call. A call that goes straight from a student's code into
this library, or into a package like torch or scikit-learn, must be one that the task allows; what
the library calls in turn is its own affair. So ``a / b`` of two Tensors in ``divide`` is seen, and
so are ``super()``, a wrapper, and a function that was found by its name as text. NumPy and the
standard library are free: they are what students write with.

This is no sandbox (see docs/instructor_guide.md, section 7). It tells honest students what a task
is about, and takes from the others what they did not write.
"""

from __future__ import annotations

import re
import site
import sys
import sysconfig
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import translate
from importlib.util import find_spec
from pathlib import Path
from types import FrameType, GeneratorType, TracebackType
from typing import Any

OURS, FREE, FOREIGN, PASSED_ON, STUDENT = range(5)
PACKAGES = ("minissl", "minissl_kernels")
FREE_PACKAGES = ("numpy", "array_api_compat", "tqdm", "matplotlib")

# What any student may do: look at a Tensor, make one, and what happens around an operation.
ALWAYS = (
    *(f"Tensor.{name}" for name in ("__init__", "__repr__", "__len__", "numpy", "item")),
    *(f"Tensor.{name}" for name in ("shape", "dtype", "ndim", "size", "detach")),
    *(f"minissl.autograd.{m}:*" for m in ("arrays", "inputs", "checked", "recording", "devices")),
    "minissl.autograd.half:*",
    "differentiable",
    "output_and_rules",
    "_remember",
    "as_array",
    "Node.*",
    "Module.__call__",
    "*.__post_init__",
    "*.find_spec",
    # Between a kernel and Triton's interpreter: what watches it, and what torch does to inspect.
    "minissl.homework.watched:*",
    "torch.package.*:_patched_getfile",
    "minissl.homework.assignments.*:*.*",  # what a check hands out, not its oracles
)
# What is built from Tensors may use the engine, in any style. None of it is fused or composed.
ENGINE = (
    "Tensor.*",
    *(
        f"minissl.autograd.{module}:*"
        for module in ("elementwise", "reductions", "shapes", "matrices", "indices")
    ),
)
_FROZEN, _IMPORTS = "<frozen importlib", "_find_and_load"  # Python's own import
_UNWATCHED = ("sys:setprofile", "sys:getprofile", "_thread:start_new_thread")
_STARTS = ("system", "fork", "forkpty", "posix_spawn", "posix_spawnp", "execv", "execve")
# These call what they wrap: the call behind them is what counts.
_PASS_ON = re.compile(
    r"differentiable\.<locals>\.operation(\.<locals>\..*)?|Module\.__call__"
    r"|rounded_once\.<locals>\.rounded|recording\.__call__\.<locals>\.switched"
)


@dataclass(frozen=True)
class Seen:
    """A call that the task does not allow. ``name``: "minissl.text.tokenizer:Tokenizer.encode"."""

    name: str
    file: str
    line: int

    @property
    def what(self) -> str:
        """As the student would say it."""
        module, _, name = self.name.partition(":")
        return name if module.split(".")[0] in PACKAGES else f"{module.split('.')[0]}'s {name}"


class Guard:
    """Notes what the code of a student calls, between ``with`` and its end.

    ``allowed``: patterns (as for file names) of "module:function" or of the name alone, as in
    "Tensor.exp" or "minissl.autograd.shapes:*"; one that begins with "!" takes back what the
    others allow, and "*" allows everything. ``answer``: the name of what the student is to write;
    the library's function of that name is never allowed.
    """

    def __init__(self, allowed: Iterable[str], answer: str):
        self.answer = answer
        self.seen: list[Seen] = []
        self.ran = False  # whether anything that the student wrote was called
        self.was_off = False  # whether the student's code has ended the watch
        patterns = [*ALWAYS, *allowed]
        self._allows = _matcher(p for p in patterns if p[:1] != "!")
        self._denies = _matcher([answer, *(p[1:] for p in patterns if p[:1] == "!")])
        self._everything = "*" in patterns
        self._kinds: dict[str, int] = {}
        self._verdicts: dict[str, bool] = {}

    def __enter__(self) -> Guard:
        threading.setprofile(self._event)
        sys.setprofile(self._event)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.was_off = sys.getprofile() != self._event
        sys.setprofile(None)
        threading.setprofile(None)

    def sentence(self) -> str:
        """Why what was called loses the points, or "" when nothing speaks against it."""
        name = self.answer.split(".")[-1]
        if self.was_off:
            return "your code has switched off sys.setprofile, by which the checker watches it"
        if not self.ran and not self._everything:
            return f"nothing that you wrote was called: {name} has to be a function of your own"
        if not self.seen:
            return ""
        first = self.seen[0]
        where = f"{Path(first.file).name}, line {first.line}"
        if first.name.partition(":")[2] == self.answer:
            return f"it hands the work to the library's own {name} ({where}): write it yourself"
        return (
            f"it calls {first.what} ({where}), which this task does not allow: "
            "the handout lists what it does"
        )

    # ---- one call ------------------------------------------------------------------------------

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        if frame.f_code.co_filename == __file__:
            return
        if event == "call":
            kind = self._kind(frame)
            if kind == STUDENT:
                self.ran = True
            elif kind == FREE:
                if frame.f_code.co_qualname == "Popen.__init__" and (
                    caller := self._student_behind(frame)
                ):
                    self._note("subprocess:Popen", caller)
            elif kind in (OURS, FOREIGN) and (caller := self._student_behind(frame)):
                self._note(_name_of(frame), caller)
        elif event == "return" and isinstance(argument, GeneratorType):  # it runs for others
            behind = argument.gi_frame
            if behind and self._kind(behind) == OURS and self._kind(frame) == STUDENT:
                self._note(_name_of(behind), frame)
        elif event == "c_call" and self._kind(frame) == STUDENT:
            owner = getattr(argument, "__module__", None)
            if not isinstance(owner, str):
                owner = type(getattr(argument, "__self__", None)).__module__
            root = owner.split(".")[0]
            starts = root in ("posix", "nt") and argument.__name__ in _STARTS
            starts |= f"{owner}:{argument.__name__}" in _UNWATCHED
            if starts or (root not in sys.stdlib_module_names and root not in FREE_PACKAGES):
                self._note(f"{owner}:{argument.__qualname__}", frame)

    def _note(self, name: str, caller: FrameType) -> None:
        """Keep the call if it is not allowed (of many like it the first is enough)."""
        if self._everything or len(self.seen) >= 20:
            return
        verdict = self._verdicts.get(name)
        if verdict is None:
            plain = name.partition(":")[2]
            denied = self._denies(name) or self._denies(plain)
            passed_on = plain == "<module>" or _PASS_ON.fullmatch(plain) is not None
            passed_on |= name.startswith("minissl.homework.") and "<locals>" in name  # a check's
            allowed = passed_on or self._allows(name) or self._allows(plain)
            verdict = self._verdicts[name] = allowed and not denied
        if not verdict:
            self.seen.append(Seen(name, caller.f_code.co_filename, caller.f_lineno))

    def _student_behind(self, frame: FrameType) -> FrameType | None:
        """The frame of the student's code that made this call; None if the library made it."""
        above = frame.f_back
        while above is not None:
            kind = self._kind(above)
            if kind == STUDENT:
                return above
            if kind == OURS and not _PASS_ON.fullmatch(above.f_code.co_qualname):
                return None
            if above.f_code.co_name == _IMPORTS and above.f_code.co_filename.startswith(_FROZEN):
                return None  # what happens inside of an import is nobody's call
            above = above.f_back
        return None

    def _kind(self, frame: FrameType) -> int:
        file = frame.f_code.co_filename
        kind = self._kinds.get(file)
        if kind is None:
            kind = self._kinds[file] = _kind_of(file)
        return kind


def _name_of(frame: FrameType) -> str:
    """ "module:function", the function with its class."""
    return f"{frame.f_globals.get('__name__', '')}:{frame.f_code.co_qualname}"


def _matcher(patterns: Iterable[str]) -> Any:
    """A function: whether a name is one of those that the patterns mean."""
    return re.compile("|".join(translate(pattern) for pattern in patterns) or r"\Z\A.").fullmatch


def _folders(packages: Collection[str]) -> tuple[str, ...]:
    specs = (find_spec(package) for package in packages)
    places = (place for s in specs if s for place in s.submodule_search_locations or [])
    return tuple(f"{Path(place)}/" for place in places)


def _kind_of(file: str) -> int:
    """Whose code is in a file; what was made from text belongs to whoever calls it."""
    if file.startswith("<"):
        return FREE if file.startswith("<frozen") else PASSED_ON
    path = file.replace("\\", "/")
    for packages, kind in ((PACKAGES, OURS), (FREE_PACKAGES, FREE)):
        if path.startswith(_folders(packages)):
            return kind
    installed = (*site.getsitepackages(), site.getusersitepackages())
    if path.startswith(tuple(f"{place}/" for place in installed)):
        return FOREIGN
    paths = sysconfig.get_paths()
    return FREE if path.startswith((f"{paths['stdlib']}/", f"{paths['platstdlib']}/")) else STUDENT

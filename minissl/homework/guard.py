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

import gc
import os
import re
import site
import sys
import sysconfig
import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FrameType, FunctionType, GeneratorType, MethodType, TracebackType
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
# What no answer needs: it reads the checker's own variables, or blinds the watch.
_HIDING = frozenset(
    ("f_back", "tb_frame", "_getframe", "getprofile", "setprofile", "start_new_thread")
)
_SHORTEST = 40  # bytes of code: what is shorter looks like much else
_STARTS = ("system", "fork", "forkpty", "posix_spawn", "posix_spawnp", "execv", "execve")
# Functions of the standard library that start something, or set what is called of every call.
_WATCHED = ("Popen.__init__", "Thread.start", "setprofile", "setprofile_all_threads")
_CHECKER = str(Path(__file__).parent)  # all of minissl.homework
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
    the library's function of that name is never allowed. ``module``: where that is; its code loses
    also under the name of another file.
    """

    def __init__(self, allowed: Iterable[str], answer: str, module: str = ""):
        self.answer, self.module = answer, module
        self.seen: list[Seen] = []
        self.ran = False  # whether anything that the student wrote was called
        self.was_off = False  # whether the student's code has ended the watch
        self.handed = False  # whether a check has called the library's function without a detour
        self.thread: FrameType | None = None  # what of the student's has started the first thread
        patterns = [*ALWAYS, *allowed]
        self._allows = _matcher(p for p in patterns if p[:1] != "!")
        self._denies = _matcher([answer, *(p[1:] for p in patterns if p[:1] == "!")])
        self._everything = "*" in patterns
        self._kinds: dict[str, int] = {}
        self._verdicts: dict[str, bool] = {}
        self._seen_codes: dict[int, CodeType] = {}  # kept, so that no other gets its number
        # What the garbage collector calls, at any moment and in anybody's frame.
        self._collector = {call.__code__ for call in gc.callbacks if hasattr(call, "__code__")}

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
        if not self.seen and self.handed:
            return f"it hands the work to the library's own {name}: write it yourself"
        if not self.seen:
            return ""
        first = self.seen[0]
        where = f"{Path(first.file).name}, line {first.line}"
        if first.name.partition(":")[2] == self.answer:
            return f"it hands the work to the library's own {name} ({where}): write it yourself"
        if first.name.partition(":")[2] in _HIDING or first.name[:3] == "gc:":
            hidden = first.name.partition(":")[2]
            return f"it uses {hidden} ({where}), which hides from the checker or looks into it"
        return (
            f"it calls {first.what} ({where}), which this task does not allow: "
            "the handout lists what it does"
        )

    # ---- one call ------------------------------------------------------------------------------

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        if frame.f_code.co_filename == __file__ or frame.f_code in self._collector:
            return
        kind = self._kind(frame)
        if event == "call":
            if kind not in (OURS, FOREIGN):
                self._look_at(frame, kind)
            if kind in (OURS, FOREIGN):
                self._from_the_library(frame)
            elif kind == FREE and frame.f_code.co_qualname in _WATCHED:
                self._of_the_standard_library(frame)
        elif kind != STUDENT:
            return
        elif event == "return":  # what others call then is the student's affair
            for code, name in _functions_in(argument):
                if self._kind_of_code(code) == OURS:
                    self._note(name, frame)
        elif event == "c_call":
            self._written_in_c(frame, argument)

    def _from_the_library(self, frame: FrameType) -> None:
        """A function of the library begins: on behalf of the student?"""
        if caller := self._student_behind(frame):
            self._note(_name_of(frame), caller)
        elif self.thread and _began_here(frame):
            self._note(_name_of(frame), self.thread)
        elif self.module and _name_of(frame) == f"{self.module}:{self.answer}":
            above = _before(frame)
            self.handed |= above is not None and above.f_code.co_filename.startswith(_CHECKER)

    def _look_at(self, frame: FrameType, kind: int) -> None:
        """Code that is seen for the first time: whose is it, and what does it read?"""
        self.ran |= kind == STUDENT
        code = frame.f_code
        if id(code) in self._seen_codes:
            return
        self._seen_codes[id(code)] = code
        if kind == STUDENT and (names := _HIDING.intersection(code.co_names)):
            self.was_off |= "setprofile" in names
            worst = "setprofile" if self.was_off else min(names)
            self._note(f"sys:{worst}", frame)
        if self.module and _is_borrowed(code, self.module, kind == STUDENT):
            self._note(f"{self.module}:{self.answer}", self._student_behind(frame) or frame)

    def _of_the_standard_library(self, frame: FrameType) -> None:
        """What runs something elsewhere, or would end the watch."""
        name, caller = frame.f_code.co_qualname, self._student_behind(frame)
        if caller is None:
            return
        if name == "Popen.__init__":
            self._note("subprocess:Popen", caller)
        elif name == "Thread.start":
            self.thread = self.thread or caller
        elif frame.f_globals.get("__name__") == "threading":
            self.was_off = True

    def _written_in_c(self, frame: FrameType, function: Any) -> None:
        """A function without Python code is called by the student's."""
        owner = getattr(function, "__module__", None)
        if not isinstance(owner, str):
            owner = type(getattr(function, "__self__", None)).__module__
        root, name = owner.split(".")[0], function.__name__
        self.was_off |= root == "sys" and name == "setprofile"
        starts = root in ("posix", "nt") and name in _STARTS
        starts |= (
            name in ("start_new_thread", "start_joinable_thread", "getprofile") or root == "gc"
        )
        if starts or (root not in sys.stdlib_module_names and root not in FREE_PACKAGES):
            self._note(f"{owner}:{function.__qualname__}", frame)

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
        while above is not None and above.f_code not in self._collector:
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
        return self._kind_of_code(frame.f_code)

    def _kind_of_code(self, code: CodeType) -> int:
        file = code.co_filename
        kind = self._kinds.get(file)
        if kind is None:
            kind = self._kinds[file] = _kind_of(file)
        return kind


def _name_of(frame: FrameType) -> str:
    """ "module:function", the function with its class."""
    return f"{frame.f_globals.get('__name__', '')}:{frame.f_code.co_qualname}"


def _before(frame: FrameType) -> FrameType | None:
    """The frame that called, but for those that only pass on."""
    above = frame.f_back
    while above is not None and _PASS_ON.fullmatch(above.f_code.co_qualname):
        above = above.f_back
    return above


def _began_here(frame: FrameType) -> bool:
    """Whether a thread of its own has begun with this call, and not with the library's code."""
    above = _before(frame)
    while above is not None and _kind_of(above.f_code.co_filename) != OURS:
        if above.f_code.co_qualname == "Thread._bootstrap":
            return True
        above = _before(above)
    return False


def _functions_in(value: Any) -> Iterator[tuple[CodeType, str]]:
    """Functions that were returned, alone or in tuples; a generator runs later, too."""
    for item in value if type(value) in (tuple, list) and len(value) < 10 else (value,):
        if type(item) is tuple and item is not value:
            yield from _functions_in(item)
        while isinstance(item, partial | MethodType):
            item = item.func if isinstance(item, partial) else item.__func__
        if isinstance(item, FunctionType):
            yield item.__code__, f"{item.__module__}:{item.__qualname__}"
        elif isinstance(item, GeneratorType) and item.gi_frame:
            yield item.gi_frame.f_code, _name_of(item.gi_frame)


def _is_borrowed(code: CodeType, module: str, in_a_file: bool) -> bool:
    """Whether code is that of a module of the library, but says that it is from somewhere else.

    What stands in the file that it names, word by word as here, was written there.
    """
    key = _look(code)
    if len(code.co_code) < _SHORTEST or key not in _looks_of(_file_of(module)):
        return False
    return not in_a_file or key not in _looks_of(code.co_filename)


def _look(code: CodeType) -> tuple[Any, ...]:
    """What code reads, its variables and its constants; Python compiles the rest in two ways."""
    constants = [repr(c) for c in code.co_consts if not isinstance(c, CodeType)]
    return code.co_names, code.co_varnames, tuple(constants)


@cache
def _file_of(module: str) -> str:
    spec = find_spec(module)
    return spec.origin or "" if spec else ""


@cache
def _looks_of(file: str) -> frozenset[Any]:
    """How the functions of a file look once they are compiled; nothing if it cannot be."""
    try:
        source = Path(file).read_bytes()
        waiting = [compile(source, file, "exec", dont_inherit=True)]
    except (OSError, SyntaxError, ValueError):
        return frozenset()
    found = set()
    while waiting:
        code = waiting.pop()
        found.add(_look(code))
        waiting += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
    return frozenset(found)


def _matcher(patterns: Iterable[str]) -> Any:
    """A function: whether a name is one of those that the patterns mean."""
    return re.compile("|".join(translate(pattern) for pattern in patterns) or r"\Z\A.").fullmatch


def _folders(packages: Collection[str]) -> tuple[str, ...]:
    specs = (find_spec(package) for package in packages)
    places = (place for s in specs if s for place in s.submodule_search_locations or [])
    return tuple(f"{_slashed(place)}/" for place in places)


def _slashed(path: str, of_system: Any = os.path) -> str:
    """A path as it is compared: with slashes, and on Windows, where case says nothing, in lower."""
    return str(of_system.normcase(of_system.normpath(path))).replace("\\", "/")


def _kind_of(file: str) -> int:
    """Whose code is in a file; what was made from text belongs to whoever calls it."""
    if file.startswith("<"):
        return FREE if file.startswith("<frozen") else PASSED_ON
    path = _slashed(file)
    for packages, kind in ((PACKAGES, OURS), (FREE_PACKAGES, FREE)):
        if path.startswith(_folders(packages)):
            return kind
    own = tuple(f"{_slashed(sysconfig.get_paths()[name])}/" for name in ("stdlib", "platstdlib"))
    installed = map(_slashed, (*site.getsitepackages(), site.getusersitepackages()))
    for place in installed:  # on Windows the first of them may be where all of Python lies
        if path.startswith(f"{place}/") and not own[0].startswith(f"{place}/"):
            return FOREIGN
    return FREE if path.startswith(own) else STUDENT

"""The work of a task has to be the student's own: what the guard sees, and what it leaves alone."""

import _thread
import contextlib
import functools
import gc
import inspect
import ntpath
import site
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minissl import Tensor
from minissl.autograd import elementwise
from minissl.autograd import operations as ops
from minissl.autograd.tensor import differentiable
from minissl.homework import guard
from minissl.homework.allowed import allowed_calls, what_is_allowed
from minissl.homework.assignments import assignment_numbers, load_assignment
from minissl.homework.guard import Guard
from minissl.homework.outcome import run_check
from minissl.homework.submission import missing_packages
from minissl.text.tokenizer import Tokenizer

TASKS = {
    task.number: task
    for number in assignment_numbers()
    for task in load_assignment(number).tasks
    if "triton" not in task.requires and not missing_packages(task)
}
DIVIDE = TASKS["1.1"]


def symptoms(task, subject, extra=0):
    return [run_check(task, check, subject, extra=extra).symptom for check in task.checks]


def wrapped(answer, method):
    """What hands everything on to the library: a function, or a class with one method."""
    if method is None:
        return lambda *arguments, **settings: answer(*arguments, **settings)

    class Heir(answer):
        pass

    def inherited(self, *arguments, **settings):
        return getattr(super(Heir, self), method)(*arguments, **settings)

    setattr(Heir, method, inherited)
    return Heir


def test_what_the_garbage_collector_calls_is_nobodys_call():
    """Hypothesis, say, asks to be told of each collection: that may come in a student's loop."""
    told = []
    space = {"told": told, "__name__": "foreign"}
    source = "def note(): told.append(1)\ndef callback(phase, info): note()"
    exec(compile(source, pytest.__file__, "exec"), space)
    usual = gc.get_threshold()
    gc.callbacks.append(space["callback"])
    gc.set_threshold(10)
    try:
        with Guard([], "answer") as guard:
            kept = [[number] for number in range(1000)]
        with Guard([], "answer") as other:
            space["note"]()
    finally:
        gc.set_threshold(*usual)
        gc.callbacks.remove(space["callback"])
    assert len(kept) == 1000
    assert told
    assert not guard.seen
    assert other.seen, "called by the student it counts"


@pytest.mark.parametrize("number", TASKS)
def test_who_hands_a_task_to_the_library_gets_nothing(number):
    """Every check of every task, through a wrapper and through super()."""
    task = TASKS[number]
    if task.target.startswith("minissl_kernels"):
        pytest.importorskip("triton")
    for check, symptom in zip(
        task.checks, symptoms(task, wrapped(task.answer(), task.method)), strict=True
    ):
        name = task.label.split(".")[-1]
        assert f"it hands the work to the library's own {name} (test_guard.py" in symptom, check


def by_its_name(a, b):
    from importlib import import_module

    return getattr(import_module("minissl.autograd.operations"), "div" + "ide")(a, b)


def in_a_thread(a, b):
    found = []
    thread = threading.Thread(target=lambda: found.append(ops.divide(a, b)))
    thread.start()
    thread.join()
    return found[0]


def unwatched(a, b):
    sys.setprofile(None)
    return ops.divide(a, b)


@differentiable
def by_another_graph(a, b, /):
    """A rule that lets the engine find the gradients."""
    x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    quotient = x / y

    def back(g):
        quotient.backward(g)
        return x.grad, y.grad

    return quotient.numpy(), back


@pytest.mark.parametrize(
    ("subject", "shows"),
    [
        (lambda a, b: a / b, r"it calls Tensor.__truediv__ (test_guard.py, line"),
        (lambda a, b: a * b**-1.0, r"it calls Tensor.__pow__"),
        (by_its_name, "it hands the work to the library's own divide"),
        (in_a_thread, "it hands the work to the library's own divide"),
        (unwatched, "switched off sys.setprofile"),
        (by_another_graph, "it calls Tensor.__truediv__"),
        (functools.partial(ops.divide), "nothing that you wrote was called"),
        (
            types.FunctionType(ops.divide.__code__, ops.divide.__globals__, "divide", None)
            if ops.divide.__closure__ is None
            else differentiable(elementwise.divide.__wrapped__),
            "nothing that you wrote was called",
        ),
    ],
)
def test_no_detour_earns_anything(subject, shows):
    for symptom in symptoms(DIVIDE, subject):
        assert shows in symptom


LOSS = TASKS["7.2"]  # a body that calls nothing of the library
masked_loss = LOSS.answer()


def of_another_file(name):
    """The library's function, which says that it was written elsewhere."""
    code = masked_loss.__code__.replace(co_filename=name)
    copy = types.FunctionType(code, masked_loss.__globals__)
    return lambda *arguments: copy(*arguments)


def from_its_text(file):
    """The library's function, compiled from its source text as if it stood in a file."""
    made = dict(masked_loss.__globals__)
    exec(compile(inspect.getsource(masked_loss), file, "exec"), made)
    return lambda *arguments: made["masked_loss"](*arguments)


def in_a_pool(*arguments):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(masked_loss, *arguments).result()


def in_a_thread_of_c(*arguments):
    found, lock = [], _thread.allocate_lock()
    lock.acquire()

    def work():
        with contextlib.suppress(ValueError):
            found.append(masked_loss(*arguments))
        lock.release()

    _thread.start_new_thread(work, ())
    lock.acquire()
    if not found:
        raise ValueError
    return found[0]


def unwatched_for_a_while(*arguments):
    watch = sys.getprofile()
    sys.setprofile(None)
    try:
        return masked_loss(*arguments)
    finally:
        sys.setprofile(watch)


def out_of_the_checker(*arguments):
    try:
        raise KeyError
    except KeyError as error:
        variables = error.__traceback__.tb_frame.f_back.f_back.f_locals
    return variables.get("expected", masked_loss.__name__)


@pytest.mark.parametrize(
    ("subject", "shows"),
    [
        (of_another_file(__file__), "it hands the work to the library's own masked_loss"),
        (of_another_file(np.__file__), "it hands the work to the library's own masked_loss"),
        (of_another_file("<text>"), "it hands the work to the library's own masked_loss"),
        (from_its_text(__file__), "it hands the work to the library's own masked_loss"),
        (from_its_text("<text>"), "it hands the work to the library's own masked_loss"),
        (in_a_pool, "it hands the work to the library's own masked_loss"),
        (in_a_thread_of_c, "start_new_thread"),
        (unwatched_for_a_while, "setprofile"),
    ],
)
def test_another_name_or_thread_hides_nothing(subject, shows):
    for symptom in symptoms(LOSS, subject):
        assert shows in symptom


def test_what_looks_into_the_checker_is_named():
    with Guard((), "masked_loss") as guard:
        out_of_the_checker()
    assert "it uses f_back (test_guard.py" in guard.sentence()


def test_the_librarys_function_with_one_argument_of_ones_own():
    """Something that the student wrote runs, and has nothing to do with the task."""
    told = functools.partial(TASKS["3.8"].answer(), on_token=lambda token: None)
    found = symptoms(TASKS["3.8"], told)
    assert all("generate" in symptom for symptom in found if symptom), found
    assert sum("the library's own generate" in symptom for symptom in found)


def test_what_is_returned_may_not_be_the_librarys():
    @differentiable
    def doubled(a, /):
        return 2 * a, (ops.tanh.__wrapped__,)

    with Guard((), "split_heads") as guard:
        doubled(Tensor([1.0], requires_grad=True))
    assert "it calls tanh" in guard.sentence()


def test_ones_own_threads_and_texts_cost_nothing():
    def halves(values):
        with ThreadPoolExecutor(2) as pool:
            return [*pool.map(lambda x: x / 2, values)]

    with Guard((), "masked_loss", LOSS.module) as guard:
        assert halves([2, 4]) == [1, 2]
        assert eval("(lambda x: x + 1)(1)") == 2
    assert guard.sentence() == ""


def test_torch_is_no_way_around():
    torch = pytest.importorskip("torch")
    softmax = TASKS["1.5"]

    @differentiable
    def by_torch(a, /, axis=-1):
        x = torch.tensor(a, requires_grad=True)
        y = torch.softmax(x, axis)
        return y.detach().numpy(), (
            lambda g: torch.autograd.grad(y, x, torch.tensor(g), retain_graph=True)[0].numpy(),
        )

    assert "torch's" in symptoms(softmax, by_torch)[0]
    assert "which this task does not allow" in symptoms(softmax, by_torch)[0]


def test_what_the_library_calls_is_its_own_affair():
    def train():
        return Tokenizer.train(["abc abc"], 258)

    with Guard(("Tokenizer.train",), "Tokenizer.encode") as guard:
        train()
    assert (guard.sentence(), guard.seen) == ("", [])


def test_own_code_may_look_sort_and_count():
    @differentiable
    def third(a, /):
        return np.vectorize(lambda x: x / 3)(a), (lambda g: sorted([g / 3], key=np.sum)[0],)

    with Guard((), "divide") as guard:
        x = Tensor([1.0, 2.0], requires_grad=True)
        assert third(x).shape == (2,)
        third(x)
    assert guard.sentence() == ""


def test_an_import_in_the_body_costs_nothing_whatever_is_installed(tmp_path, monkeypatch):
    """Tools like setuptools watch every import, and a package calls much while it is read."""
    finder = tmp_path / "site" / "finder.py"
    finder.parent.mkdir()
    finder.write_text(
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        return (lambda: None)()\n",
        encoding="utf-8",
    )
    (tmp_path / "site" / "loud.py").write_text(
        "def early():\n    return 1\n\nearly()\n", encoding="utf-8"
    )
    monkeypatch.setattr("site.getsitepackages", lambda: [str(finder.parent)])
    monkeypatch.syspath_prepend(str(finder.parent))
    import finder as found

    monkeypatch.setattr(sys, "meta_path", [found.Finder(), *sys.meta_path])
    with Guard((), "divide") as guard:
        import loud
    assert not guard.seen
    with Guard((), "divide") as guard:
        loud.early()
    assert [call.name for call in guard.seen] == ["loud:early"]


def test_patterns_allow_take_back_and_never_reach_the_answer():
    def seen(*allowed, answer="divide"):
        with Guard(allowed, answer) as guard:
            ops.exp(Tensor([1.0]))
            ops.divide(Tensor([1.0]), Tensor([2.0]))
        return [call.name.split(":")[1] for call in guard.seen]

    assert seen() == ["exp", "divide"]
    assert seen("exp") == ["divide"]
    assert seen("minissl.autograd.elementwise:*") == ["divide"]
    assert seen("minissl.autograd.elementwise:*", "!exp") == ["exp", "divide"]
    assert seen("minissl.autograd.elementwise:*", answer="softmax") == []
    assert seen("*", "!exp") == []


def test_the_profile_is_given_back():
    with Guard((), "divide"):
        assert sys.getprofile() is not None
    assert sys.getprofile() is None
    with pytest.raises(ZeroDivisionError), Guard((), "divide"):
        raise ZeroDivisionError
    assert sys.getprofile() is None


def test_the_handout_lists_what_is_allowed_with_signatures():
    written = frozenset(task.name for task in load_assignment(1).tasks)
    text = what_is_allowed(TASKS["1.4"], written)
    assert "`differentiable(function)`" in text
    assert "`_expanded(g, shape, axis)`" in text
    assert "_expanded" in allowed_calls(TASKS["1.4"])
    assert "_check_input" not in allowed_calls(TASKS["1.9"])


# ---- on Windows ----------------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [str, lambda path: path.replace("/", "\\").upper()])
def test_whose_file_it_is_with_paths_of_windows(turned, monkeypatch):
    """Which has backslashes and no case, and counts the folder of Python as one of packages."""
    usual = site.getsitepackages()
    monkeypatch.setattr(guard._slashed, "__defaults__", (ntpath,))
    monkeypatch.setattr(site, "getsitepackages", lambda: [sys.base_prefix, *usual])
    assert guard._slashed("C:\\Users\\A\\hw1\\..\\hw1.py") == "c:/users/a/hw1.py"
    whose = {
        inspect.__file__: guard.FREE,
        np.__file__: guard.FREE,
        ops.__file__: guard.OURS,
        pytest.__file__: guard.FOREIGN,
        "/home/a/hw1/hw1.py": guard.STUDENT,
    }
    assert {file: guard._kind_of(turned(file)) for file in whose} == whose

"""The checker against everything that a student's file may do to it."""

from dataclasses import replace

import pytest

from minissl.homework.check import Results, Settings, TaskResult, check_submission
from minissl.homework.scoreboard import to_text
from minissl.homework.source import student_file
from minissl.homework.submission import NotThere, missing_packages, subject_of
from minissl.homework.task import Assignment, Task
from tests.homework.submissions import DIVIDE, IMPORTS, ONE, checked, symptoms, write
from tests.systems import posix

# ---- what costs one task -------------------------------------------------------------------------

HOSTILE = f"""{IMPORTS}{DIVIDE}
def unbroadcast(gradient, shape):
    while True:
        pass

def _matmul(a, b, /):
    import os
    line = '"event": "outcome", "check": "product", "about": "", "points": 2, "status": "passed"'
    print("{{" + line + "}}")
    os._exit(0)

def max(a, /, axis=None, keepdims=False):
    return max(a, axis)

def softmax(a, /, axis=-1):
    import ctypes
    return ctypes.string_at(0)

def scatter_add(size, positions, values):
    return np.empty(6 << 27)  # 6 GiB

def _parents_first(root):
    raise SystemExit(0)

def walk_back(root, seed):
    import a_package_that_is_not_there
"""


@posix
def test_whatever_happens_costs_one_task(tmp_path):
    tasks = [replace(t, seconds=1.5) if t.number == "1.2" else t for t in ONE.tasks]
    quick = Assignment(1, ONE.title, tuple(tasks))
    results = check_submission(quick, write(tmp_path, HOSTILE), settings=Settings(extra=1))
    found = {result.task.number: result for result in results.tasks}
    assert results.problem == ""
    assert found["1.1"].score == 8
    assert results.score == 8
    assert "stopped after 1.5 seconds in line" in symptoms(found["1.2"])
    assert "endless loop" in symptoms(found["1.2"])
    assert found["1.2"].printed == ""
    assert found["1.2"].seconds < 60
    assert "ended early, with exit code 0" in symptoms(found["1.3"])
    assert '"passed"' in found["1.3"].printed, "what is printed is shown, and is no result"
    assert "RecursionError" in symptoms(found["1.4"])
    assert "crashed with SIGSEGV" in symptoms(found["1.5"])
    assert "MemoryError" in symptoms(found["1.6"])
    assert "exit()" in symptoms(found["1.7"])
    assert "No module named 'a_package_that_is_not_there'" in symptoms(found["1.8"])
    assert "does not define gradcheck" in symptoms(found["1.9"])
    text = to_text(results)
    assert "1.9  gradcheck         0 of 10" in text
    assert "total                  8 of 86" in text


def test_checks_that_were_finished_before_a_crash_count(tmp_path):
    text = """
    import os
    def unbroadcast(gradient, shape):
        if 1 in shape:
            os._exit(0)
        return gradient.sum(axis=tuple(range(gradient.ndim - len(shape)))).reshape(shape)
    """
    _, found = checked(write(tmp_path, text), "1.2", extra=0)
    assert [o.earned for o in found["1.2"].outcomes] == [4, 0, 0, 0]


def test_a_forked_process_writes_no_results(tmp_path):
    text = """
    import os
    FIRST = os.getpid()
    def unbroadcast(gradient, shape):
        if os.getpid() == FIRST and os.fork():
            os.wait()
            os._exit(0)
        extra = gradient.ndim - len(shape)
        axes = tuple(extra + i for i, n in enumerate(shape) if n == 1)
        return gradient.sum((*range(extra), *axes), dtype=gradient.dtype).reshape(shape)
    """
    _, found = checked(write(tmp_path, text), "1.2")
    assert found["1.2"].score == 0


def test_an_import_that_fails_costs_what_needs_it(tmp_path):
    text = f"import a_package_that_is_not_there as gone\n{IMPORTS}{DIVIDE}"
    text += "def unbroadcast(gradient, shape):\n    return gone.sum(gradient, shape)\n"
    _, found = checked(write(tmp_path, text), "1.1", "1.2")
    assert found["1.1"].score == 8
    assert "NameError" in symptoms(found["1.2"])
    assert "an import failed: No module named 'a_package_that_is_not_there'" in symptoms(
        found["1.2"]
    )
    assert "(hw1.py, line 10)" in symptoms(found["1.2"])


def test_a_broken_decorator_costs_its_own_task(tmp_path):
    text = f"{IMPORTS}{DIVIDE}\n@no_such_decorator\ndef unbroadcast(gradient, shape):\n    pass\n"
    results, found = checked(write(tmp_path, text), "1.1", "1.2")
    assert found["1.1"].score == 8
    assert "NameError: name 'no_such_decorator'" in symptoms(found["1.2"])
    assert results.problem == ""


def test_a_report_that_was_tampered_with_gives_no_points_beyond_the_manifest(tmp_path):
    """By accident: a file descriptor that was written to, a check that was reported twice."""
    text = """
    import os
    def unbroadcast(gradient, shape):
        for number in range(3, 20):
            try:
                os.write(number, b'{"event": 3}\\n[1]\\nnonsense\\n')
            except OSError:
                pass
        return gradient
    """
    results, found = checked(write(tmp_path, text), "1.2", extra=0)
    assert (results.score, results.problem) == (0, "")
    assert "the shape is" in symptoms(found["1.2"])


# ---- what costs all ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1\ndef f(:\n", "hw1.py, line 2: invalid syntax"),
        ("x = 1\n\n  y = 2\n", "hw1.py, line 3: unexpected indent"),
        ("import os\nos._exit(3)\n", "hw1.py: the process ended early, with exit code 3"),
    ],
)
def test_a_file_that_does_not_load_says_why_once(tmp_path, text, problem):
    results, _ = checked(write(tmp_path, text))
    assert results.score == 0
    assert len(results.tasks) == len(ONE.parts)
    assert problem in results.problem
    text = to_text(results)
    assert text.count(problem) == 1
    assert f"Nothing can be checked: {problem}" in text
    assert all(result.seconds == 0 for result in results.tasks[1 : len(ONE.tasks)]), (
        "no other process is started"
    )


def test_an_error_while_loading_says_its_line(tmp_path):
    path = write(tmp_path, f"{IMPORTS}{DIVIDE}\nprint(1 / 0)\n")
    different = [TaskResult(task, [], not_loaded=task.number) for task in ONE.tasks]
    assert Results(ONE, different, Settings()).problem == "", "each task has its own"
    results, _ = checked(path, "1.1", "1.2")
    assert results.problem == "hw1.py, line 9: ZeroDivisionError: division by zero"


# ---- whose function is called --------------------------------------------------------------------


def test_all_other_functions_are_the_librarys_unless_asked(tmp_path):
    """walk_back is right and calls _parents_first, which is wrong."""
    numbers = {"1.8"}
    text = student_file(ONE, numbers)
    wrong = '    raise NotImplementedError("hw1.7 _parents_first: minissl lecture 02 --section 5")'
    assert wrong in text
    text = text.replace(wrong, "    return []")
    path = write(tmp_path, text + "\nprint(_parents_first(Tensor(1.0)))\n")
    _, found = checked(path, "1.8", guarded=False)
    assert found["1.8"].score == 12
    assert found["1.8"].printed == "[]"
    _, found = checked(path, "1.8", use_mine=True, guarded=False)
    assert found["1.8"].score < 12
    path.write_text(
        f"{path.read_text(encoding='utf-8')}\n_parents_first = list\n", encoding="utf-8"
    )
    _, found = checked(path, "1.8", guarded=False)
    assert found["1.8"].score == 12, "also where the file binds the name in another way"
    path = write(tmp_path, student_file(ONE, numbers))
    _, found = checked(path, "1.8", use_mine=True, guarded=False)
    assert "it needs hw1.7 _parents_first, which is not written" in symptoms(found["1.8"])


def test_the_librarys_own_function_is_no_answer(tmp_path):
    path = write(tmp_path, "from minissl.autograd.elementwise import divide\n")
    with pytest.raises(NotThere, match=r"library's own: write it in hw1\.py"):
        subject_of(path, ONE, ONE.tasks[0])


def test_a_name_of_pythons_is_no_answer(tmp_path):
    with pytest.raises(NotThere, match=r"hw1\.py does not define max"):
        subject_of(write(tmp_path, "x = 1\n"), ONE, ONE.tasks[3])


METHODS = Assignment(
    9,
    "methods",
    (
        Task("9.1", "minissl.text.tokenizer:Tokenizer.encode", "", "lecture 03, section 1"),
        Task("9.2", "minissl.text.tokenizer:Tokenizer.decode", "", "lecture 03, section 1"),
    ),
)


def test_methods_are_written_in_a_subclass(tmp_path):
    encode, decode = METHODS.tasks
    text = student_file(METHODS, ["9.1"])
    assert "from minissl.text.tokenizer import Tokenizer as LibraryTokenizer" in text
    assert text.count("class Tokenizer(LibraryTokenizer):") == 1
    path = write(tmp_path, text, "hw9.py")
    library, train = encode.answer(), {"vocab_size": 260}
    tokenizer = subject_of(path, METHODS, encode).train("abab", **train)
    assert isinstance(tokenizer, library)
    assert tokenizer.decode(tokenizer.encode("abab")) == "abab", "decode is the library's"
    mine = subject_of(path, METHODS, decode).train("abab", **train)
    with pytest.raises(NotImplementedError, match=r"hw9\.2 Tokenizer\.decode: minissl lecture 03"):
        mine.decode([97])
    path = write(tmp_path, f"{text[: text.index('class ')]}class Tokenizer(LibraryTokenizer): 1\n")
    with pytest.raises(NotThere, match="class Tokenizer does not define decode"):
        subject_of(path, METHODS, decode)


def test_a_missing_package_is_named_with_its_extra():
    needs = Task("9.3", "minissl:gone", "", "", requires=("numpy", "surely_not_installed"))
    assert "surely_not_installed not installed: pip install" in missing_packages(needs)
    assert missing_packages(Task("9.4", "minissl:gone", "", "", requires=("numpy",))) is None

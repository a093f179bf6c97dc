"""Homework whose answer key is the library: ``python -m minissl homework start 1``.

One file per assignment in ``assignments/``: its tasks, each a function of the library to write, and
the checks that guard it (``task``). ``starter`` makes the student's folder from the library's
``source``; ``check`` grades a ``submission``, each task in a ``child`` process; ``scoreboard``
prints it; ``grade`` does so for a class. The wrong answers that the checks must catch are
beside the tests, in ``tests/homework/planted/``. See docs/instructor_guide.md.
"""

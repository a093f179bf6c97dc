"""Homework whose answer key is the library: ``python -m minissl homework start 1``.

One file per assignment in ``assignments/``: its tasks, each a function of the library to write, and
the checks that guard it. ``starter.py`` makes the student's folder, ``check.py`` grades one.
"""

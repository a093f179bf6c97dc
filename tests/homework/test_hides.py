"""A starter does not import what would do its work.

``hides`` names it task by task; this looks at the file as a whole, so that a body that is written
in another way tomorrow cannot give a student something without anybody noticing.
"""

import ast
import sys

import pytest

from minissl.homework.assignments import load_assignment
from minissl.homework.source import student_file

# What homeworks 6 to 8 give of the files that do their work, and of the fused operations: nothing.
GIVEN = {
    6: {
        "minissl.losses.metric": {"DEFINITIONS", "checked_margin", "reduced"},
        "minissl.losses.supervised": {"LOGARITHMS"},
        "minissl.losses.triplets": {"MINING", "Triplets", "_distance_weights"},
    },
    7: {},
    8: {},
}
FILES = ("minissl.losses", "minissl.pretrain", "minissl.text", "minissl.homework")


@pytest.mark.parametrize("number", GIVEN)
def test_a_starter_imports_nothing_that_does_its_work(number):
    tree = ast.parse(student_file(load_assignment(number)))
    found = {
        node.module: {alias.name for alias in node.names}
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(FILES)
    }
    assert found == GIVEN[number]
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
             for alias in node.names}  # fmt: skip
    assert not names & {"fused", "gpu", "with_temperature", "unit_vectors"}


@pytest.mark.parametrize("number", range(1, 9))
def test_a_starter_imports_no_package_that_its_tasks_do_not_allow(number):
    """An import that is given invites: SciPy's in 5.3 cost who used it all twelve points."""
    tree = ast.parse(student_file(load_assignment(number)))
    froms = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    plain = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    roots = {str(name).split(".")[0] for name in froms | plain} - sys.stdlib_module_names
    assert roots <= {"numpy", "minissl", "minissl_kernels", "triton"}

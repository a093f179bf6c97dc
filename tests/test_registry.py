"""What a file says of itself in its first line, however that is written."""

import ast
from pathlib import Path

import pytest

import minissl
from minissl.registry import first_line

FILES = sorted(Path(minissl.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('"""Short."""\n', "Short."),
        ('"""Long,\n\nand more of it.\n"""\n', "Long,"),
        ('"""\nOn the next line.\n"""\n', "On the next line."),
        ('# a licence\n"""Below a comment."""\n', "Below a comment."),
        ('r"""Raw \\d."""\n', r"Raw \d."),
        ('"""With \\u00e9."""\n', "With é."),
        ("'''Other quotes.'''\n", "Other quotes."),
        ('"""One """ "and two."\n', "One and two."),
        ('"""Of "quoted" words."""\n', 'Of "quoted" words.'),
        ("x = 1\n", ""),
        ("", ""),
    ],
)
def test_the_first_line_of_a_docstring(tmp_path, text, line):
    file = tmp_path / "some.py"
    file.write_text(text, encoding="utf-8")
    assert first_line(file) == line


def test_it_is_what_python_reads_of_every_file():
    for file in FILES:
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        assert first_line(file) == docstring.partition("\n")[0], file

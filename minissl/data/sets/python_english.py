"""the English that comes with Python: its language reference and the docstrings of its library

About 8,000 documents, 2 MB; other ones with every version of Python.
"""

import functools

from minissl.data.sets import DataSet
from minissl.text.corpora import python_english
from minissl.text.documents import Document


def load() -> list[Document]:
    """All documents; the library is read once in a process."""
    return list(_documents())


@functools.cache
def _documents() -> tuple[Document, ...]:
    return tuple(python_english())


DATASET = DataSet(
    kinds=("texts",),
    licence="PSF, with Python",
    source="the running Python",
    embedded=load,
)

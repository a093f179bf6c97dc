"""the English that comes with Python: its language reference and the docstrings of its library

About 8,000 documents, 2 MB; other ones with every version of Python.
"""

from minissl.data.sets import DataSet
from minissl.text.corpora import python_english

DATASET = DataSet(
    kinds=("texts",),
    licence="PSF, with Python",
    source="the running Python",
    embedded=python_english,
)

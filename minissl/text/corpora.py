"""The English that ships with Python as a corpus, and the manifest that pins a corpus.

What this file does: find documents, remove repeated text, write down what was found. Unlike
``documents.py``, which reads files and splits documents. Neither tokenizes, packs or batches.

The corpus of a bare machine is the language reference in ``pydoc_data.topics`` and the docstrings
of the standard library, about 8,000 documents and 2 MB of English. It changes with the Python
version: keep the manifest of a run, and compare it before comparing numbers.

Lecture 05 (language models) trains on it, Lecture 03 (subwords) cuts it into tokens.
"""

import ast
import functools
import hashlib
import os
import platform
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from minissl.text.documents import Document, cut, digest, read_text_documents, split_documents

__all__ = [
    "Document",
    "describe_difference",
    "make_manifest",
    "python_english",
    "read_text_documents",
    "split_documents",
]

# Tests are code more than English, and idle_test, test and tests are absent from many systems.
SKIPPED_FOLDERS = {"test", "tests", "idle_test", "__pycache__"}
LONG_PARAGRAPH_WORDS = 12
MANY_SOURCES = 300  # a folder of thousands would fill a manifest that nobody reads
OTHERS = "the others"
CHAPTER_PIECE_CHARACTERS = 4_000  # so that a few per cent of 79 long chapters can be held out


def python_english(minimum_words: int = 5, library: Path | None = None) -> list[Document]:
    """The English that ships with Python: its language reference and its library's docstrings.

    The sources are parsed, never imported. A docstring is named ``asyncio.queues:Queue.get`` with
    source ``asyncio``, a part of a chapter of the reference ``topics/types[2]`` with source
    ``topics``. The reference prints some chapters twice, alone and inside a longer one, and modules
    copy docstrings from each other; a copy in the held-out part would be no test. So a paragraph of
    twelve words or more stays only where it is met first, in the shortest chapter that has it, and
    of two equal documents only the first stays. Near copies remain (``BZ2File.readline`` and
    ``LZMAFile.readline``). Documents with fewer than ``minimum_words`` words are left out.

    ``library`` is the folder of the standard library, by default that of the running Python.
    Returns the documents in the order of the hash of their texts. Raises ``FileNotFoundError``
    when this Python came without its topics or its sources. Lecture 05.
    """
    topics, docstrings = _of(library) if library else _of_this_python()
    library = library or Path(sysconfig.get_path("stdlib"))
    if not topics or not docstrings:
        missing = "the sources of its modules" if topics else "pydoc_data/topics.py"
        raise FileNotFoundError(
            f"this Python came without {missing}, expected in {library}. Install a complete Python "
            "(on Debian or Ubuntu: apt install python3, not only python3-minimal; elsewhere the "
            "installer of python.org), or train on a text file or folder of your own."
        )
    chapters = sorted(topics, key=lambda document: (len(document.text), document.name))
    documents = [
        piece
        for document in _without_repeats([*chapters, *docstrings])
        for piece in (
            cut(document, CHAPTER_PIECE_CHARACTERS) if document.source == "topics" else [document]
        )
        if len(piece.text.split()) >= minimum_words
    ]
    return sorted(documents, key=digest)


@functools.cache  # to parse the library takes seconds, and it stays as it is
def _of_this_python() -> tuple[list[Document], list[Document]]:
    return _of(Path(sysconfig.get_path("stdlib")))


def _of(library: Path) -> tuple[list[Document], list[Document]]:
    """The chapters of the reference, and the docstrings."""
    return _topics(library), _library_docstrings(library)


def _topics(library: Path) -> list[Document]:
    """The chapters of the language reference, read from the source of ``pydoc_data.topics``."""
    path = library / "pydoc_data" / "topics.py"
    if not path.is_file():
        return []
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "topics":
            chapters = ast.literal_eval(node.value)
            return [
                Document(f"topics/{key}", "topics", text.strip()) for key, text in chapters.items()
            ]
    return []


def _library_docstrings(library: Path) -> list[Document]:
    documents = []
    for path in _module_paths(library):
        parts = path.relative_to(library).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        try:
            with warnings.catch_warnings():  # of escapes that newer Pythons dislike
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue  # templates with a .py name; what was taken instead is in the manifest
        for qualified_name, text in _docstrings(tree, ""):
            name = f"{module}:{qualified_name}" if qualified_name else module
            documents.append(Document(name, parts[0], text))
    return _with_unique_names(documents)


def _module_paths(library: Path) -> Iterator[Path]:
    """Every module file of the library, in sorted order, without tests and installed packages."""
    for folder, folders, files in os.walk(library):
        # "site-packages", "lib-dynload" and "config-3.11-..." are no identifiers: not the library.
        folders[:] = sorted(f for f in folders if f.isidentifier() and f not in SKIPPED_FOLDERS)
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


def _docstrings(node: ast.AST, qualified_name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node)  # indentation cleaned as by inspect.cleandoc
        if text:
            yield qualified_name, text.strip()
    for block in ("body", "handlers", "orelse", "finalbody"):  # of if, try, with and loops too
        for child in getattr(node, block, ()):
            inside = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            name = f"{qualified_name}.{child.name}".lstrip(".") if inside else qualified_name
            yield from _docstrings(child, name)


def _with_unique_names(documents: Sequence[Document]) -> list[Document]:
    """Append ``#2``, ``#3``, ... where a name is defined again (property setters, if/else)."""
    times_seen: dict[str, int] = {}
    unique = []
    for document in documents:
        times = times_seen[document.name] = times_seen.get(document.name, 0) + 1
        name = document.name if times == 1 else f"{document.name}#{times}"
        unique.append(document._replace(name=name))
    return unique


def _without_repeats(documents: Sequence[Document]) -> list[Document]:
    """Drop each document, and each long paragraph, that an earlier document already holds."""
    texts: set[str] = set()
    long_paragraphs: set[str] = set()
    kept = []
    for document in documents:
        text = document.text.encode("utf-8", "replace").decode()  # a lone surrogate has no bytes
        paragraphs = []
        for paragraph in text.split("\n\n"):
            words = paragraph.split()
            key = " ".join(words)  # a copy may be indented or wrapped differently
            if key not in long_paragraphs:
                paragraphs.append(paragraph)
            if len(words) >= LONG_PARAGRAPH_WORDS:
                long_paragraphs.add(key)
        text = "\n\n".join(paragraphs)
        if text not in texts:
            texts.add(text)
            kept.append(document._replace(text=text))
    return kept


def make_manifest(documents: Sequence[Document]) -> dict[str, Any]:
    """What a corpus consists of, as a dictionary for JSON: counts, bytes and hashes per source.

    Holds the Python version, the number of documents and of UTF-8 bytes, a sha256 over all names
    and texts, and the same for each source (``topics``, ``asyncio``, ...); of more than 300 sources
    the last ones by name are one entry, "the others". The order of the documents does not matter.
    """
    by_source: dict[str, list[Document]] = {}
    for document in documents:
        by_source.setdefault(document.source, []).append(document)
    sources = sorted(by_source)
    summaries = {source: _summary(by_source[source], 16) for source in sources[:MANY_SOURCES]}
    if others := sources[MANY_SOURCES:]:
        summaries[OTHERS] = _summary([d for source in others for d in by_source[source]], 16)
    return {
        "python": platform.python_version(),
        **_summary(documents),
        "sources": summaries,
    }


def _summary(documents: Sequence[Document], hash_digits: int = 64) -> dict[str, Any]:
    hasher = hashlib.sha256()
    num_bytes = 0
    for document in sorted(documents):
        text = document.text.encode()
        num_bytes += len(text)
        hasher.update(b"%s\0%d\0%s" % (document.name.encode(), len(text), text))
    return {
        "documents": len(documents),
        "bytes": num_bytes,
        "sha256": hasher.hexdigest()[:hash_digits],
    }


def describe_difference(recorded: dict[str, Any], present: dict[str, Any]) -> str:
    """Say how two manifests differ, in a message for people; empty when the texts are the same.

    Equal texts on two Python versions are no difference. Example: ``corpus differs: recorded 7,500
    documents (Python 3.11.7), here 7,100 (Python 3.12.1) ...; tkinter: 700 documents, here 0``.
    """
    if recorded["sha256"] == present["sha256"]:
        return ""
    changes = []
    for source in sorted({*recorded["sources"], *present["sources"]}):
        before = recorded["sources"].get(source, {"documents": 0, "sha256": ""})
        after = present["sources"].get(source, {"documents": 0, "sha256": ""})
        if before["documents"] != after["documents"]:
            changes.append(f"{source}: {before['documents']} documents, here {after['documents']}")
        elif before["sha256"] != after["sha256"]:
            changes.append(f"{source}: {before['documents']} documents, other text")
    more = f" and {len(changes) - 10} more sources" if len(changes) > 10 else ""
    return (
        f"corpus differs: recorded {recorded['documents']:,} documents, {recorded['bytes']:,} "
        f"bytes (Python {recorded['python']}), here {present['documents']:,} documents, "
        f"{present['bytes']:,} bytes (Python {present['python']}). Losses of the two are not "
        f"comparable to the digit. Sources that differ: {'; '.join(changes[:10])}{more}."
    )

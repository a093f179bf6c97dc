"""Pictures in the dark: an SVG that knows it follows the page, any other keeps its white ground."""

from pathlib import Path
from typing import Any

from docutils import nodes

KNOWS = b"prefers-color-scheme"  # what an SVG with colors for the dark asks


def knows_the_dark(path: Path) -> bool:
    """Whether a picture has colors of its own for a dark page: only an SVG can."""
    return path.suffix == ".svg" and path.is_file() and KNOWS in path.read_bytes()


def white_cards(app: Any, doctree: nodes.document) -> None:
    """The class ``card`` for every picture that was drawn for white paper alone."""
    for image in doctree.findall(nodes.image):
        if not knows_the_dark(Path(app.srcdir, image["uri"])):
            image["classes"].append("card")


def setup(app: Any) -> dict[str, Any]:
    """Registers it, after Sphinx has found the files of the pictures."""
    app.connect("doctree-read", white_cards, priority=900)
    return {"parallel_read_safe": True}

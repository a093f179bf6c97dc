"""Executed notebooks for the visitors of a code host: ``notebooks/executed``, outputs included.

A host shows what a file holds and runs nothing. Here the outputs are, apart from the notebooks that
one works with, whose changes stay readable. Pictures are small and all PNG: not every host shows
SVG. What only a person's machine would know (the time a run took) is left out.
"""

import base64
import io
import json
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from docs.site.notebooks import FOLDER as SOURCES

FOLDER = SOURCES / "executed"
NOTE = (
    "*With its outputs, as they were on {date} (Python {python}, NumPy {numpy}). The notebook to "
    "work with, without outputs: [{name}](../{name}).*"
)
COLORS = 128  # of a picture: lines, letters and photographs look as before, at a third of the bytes
SCALE = 2  # pixels of a picture that was no PNG, for each of its own


def publish(path: Path) -> str:
    """The JSON of a notebook to be looked at, from the executed one in the file ``path``."""
    import nbformat

    notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            _shrink(output)
    name = re.sub(r"-[0-9a-f]{16}$", "", path.stem) + ".ipynb"
    note = NOTE.format(
        date=notebook.metadata.pop("minissl")["date"],
        python=platform.python_version(),
        numpy=version("numpy"),
        name=name,
    )
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(note, id="executed"))
    return nbformat.writes(notebook) + "\n"


def same(text: str, path: Path) -> bool:
    """Whether ``path`` shows the same cells and outputs: then it keeps its date."""
    if not path.is_file():
        return False
    new, old = (json.loads(one)["cells"][1:] for one in (text, path.read_text(encoding="utf-8")))
    return bool(new == old)


def _shrink(output: Any) -> None:
    """Replaces the picture of one output by a small PNG."""
    from PIL import Image

    data = output.get("data", {})
    if svg := data.pop("image/svg+xml", None):
        picture = draw(svg)
        width, height = (side // SCALE for side in picture.size)
        output.metadata["image/png"] = {"width": width, "height": height}
    elif png := data.get("image/png"):
        picture = Image.open(io.BytesIO(base64.b64decode(png)))
    else:
        return
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
    file = io.BytesIO()
    white.quantize(COLORS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    data["image/png"] = base64.b64encode(file.getvalue()).decode()


def draw(svg: str) -> Any:
    """A picture of a graph (``minissl.autograd.graph``) in pixels: boxes, lines, centered text."""
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont

    root = ElementTree.fromstring(svg)
    size = [round(SCALE * float(root.attrib[side])) for side in ("width", "height")]
    picture = Image.new("RGB", (size[0], size[1]), "white")
    pencil = ImageDraw.Draw(picture)
    face = Path(get_data_path(), "fonts", "ttf", "DejaVuSansMono.ttf")
    font = ImageFont.truetype(face, SCALE * int(root.attrib["font-size"]))
    for shape in root.iter():
        kind, one = shape.tag.rpartition("}")[2], shape.attrib
        if kind == "rect":
            x, y, width, height = (SCALE * float(one[k]) for k in ("x", "y", "width", "height"))
            pencil.rounded_rectangle(
                (x, y, x + width, y + height), 6 * SCALE, one["fill"], one["stroke"], SCALE
            )
        elif kind == "path":
            for line in one["d"].split("M")[1:]:
                points = [tuple(SCALE * float(n) for n in p.split()) for p in line.split("L")]
                pencil.line(points, one["stroke"], SCALE)
        elif kind == "text":
            place = (SCALE * float(one["x"]), SCALE * float(one["y"]))
            pencil.text(place, shape.text or "", one.get("fill", "black"), font, anchor="ms")
    return picture

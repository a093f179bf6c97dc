"""``python lectures/figures``: draw every figure of the lectures again; ``... 02 12``: of these."""

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minissl.durable import replace_durably
from minissl.page import svg_bytes

HERE = Path(__file__).parent


def figures(lecture: str) -> dict[str, Callable[[], Any]]:
    """The figures of one lecture, ``"02"``: name -> function. Each file names its own."""
    return importlib.import_module(f"lecture_{lecture}").FIGURES


def main() -> None:
    """Writes ``NN_name.svg`` beside the code that draws it."""
    known = [path.stem.removeprefix("lecture_") for path in sorted(HERE.glob("lecture_[0-9]*.py"))]
    parser = argparse.ArgumentParser(prog="python lectures/figures", description=__doc__)
    parser.add_argument("lectures", nargs="*", metavar="NN", help=f"of {', '.join(known)}")
    chosen = parser.parse_args().lectures or known
    if unknown := sorted(set(chosen) - set(known)):
        parser.error(f"no figures for {', '.join(unknown)}; there are {', '.join(known)}")
    for lecture in chosen:
        for name, draw in figures(lecture).items():
            drawn = draw()
            data = drawn.encode() if isinstance(drawn, str) else svg_bytes(drawn)
            replace_durably(HERE / f"{name}.svg", data)
            print(f"lectures/figures/{name}.svg")


if __name__ == "__main__":
    main()

"""``python -m docs.site``: build the course's website into build/site."""

import argparse
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from docs.site.pages import HERE, Pages, course
from docs.site.python_source import ROOT

MATHJAX = "tex-svg-full.js"


def build(pages: Pages, work: Path, out: Path, draft: bool = False, **settings: Any) -> int:
    """Build ``pages`` into ``out``, by way of the folder ``work``. A warning is an error.

    ``settings`` go over those of conf.py. Returns Sphinx's exit status, 0 when all is well; only
    then is what was in ``out`` replaced. For a draft warnings are only printed. Messages go to
    stderr.
    """
    from sphinx.application import Sphinx
    from sphinx.util.console import nocolor

    if not sys.stderr.isatty():
        nocolor()
    shutil.rmtree(work, ignore_errors=True)
    pages.write(work / "source")
    _copy_mathjax(work / "html" / "_static" / "mathjax")
    app = Sphinx(
        srcdir=work / "source",
        confdir=HERE,
        outdir=work / "html",
        doctreedir=work / "doctrees",
        buildername="html",
        confoverrides=settings,
        status=None,
        warning=sys.stderr,
        freshenv=True,
        warningiserror=not draft,
    )
    app.build()
    if app.statuscode == 0:
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(work / "html", out)
    return app.statuscode


def _copy_mathjax(folder: Path) -> None:
    """One file of the package sphinx-mathjax-offline, whose folder is no Python name."""
    spec = find_spec("sphinx-mathjax-offline")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("formulas need sphinx-mathjax-offline: pip install -e .[docs]")
    folder.mkdir(parents=True)
    package = Path(next(iter(spec.submodule_search_locations)))
    shutil.copy(package / "static" / "mathjax" / MATHJAX, folder)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m docs.site", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    parser.add_argument(
        "--draft", action="store_true", help="quick: no notebook runs, warnings do not stop it"
    )
    arguments = parser.parse_args()
    draft, work = arguments.draft, arguments.out.with_name(f"{arguments.out.name}-work")
    status = build(course(draft), work, arguments.out, draft)
    if status == 0:
        print(f"open {arguments.out / 'index.html'}")
    return status


if __name__ == "__main__":
    sys.exit(main())

"""Sphinx's settings for the site; ``python -m docs.site`` builds it."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from docs.site.directives import page_link  # noqa: E402
from minissl.places import find  # noqa: E402

project = "minissl"
html_title = "minissl"
author = "the minissl founders"
copyright = "the minissl founders. MIT licence"
extensions = [
    "docs.site.directives",
    "docs.site.pictures",
    "myst_nb",
    "sphinx.ext.githubpages",
    "sphinx.ext.linkcode",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["downloads"]

# Markdown as GitHub reads it, and formulas.
myst_enable_extensions = ["dollarmath"]
myst_dmath_double_inline = True
myst_heading_anchors = 4
nb_execution_mode = "off"  # docs/site/notebooks.py runs them, once, with better errors
nb_merge_streams = True

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["offline.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_domain_indices = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6bcb", "color-brand-content": "#0b6bcb"},
    "dark_css_variables": {"color-brand-primary": "#6db3f8", "color-brand-content": "#6db3f8"},
}
pygments_style = "a11y-light"
pygments_dark_style = "a11y-dark"
maximum_signature_line_length = 72
add_module_names = False
python_use_unqualified_type_names = True
toc_object_entries = False  # the menu of every page would carry them: twice the time

# One file with every TeX extension and its glyphs as outlines: nothing is fetched.
mathjax_path = "mathjax/tex-svg-full.js"
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"scale": 0.95}}


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """[source] in the reference leads to the line."""
    if domain != "py" or not info["module"]:
        return None
    place = find(f"{info['module']}:{info['fullname']}")
    return page_link("api/module", place.path, place.line)

"""The course as a website: ``make site`` writes build/site. Works from a folder, offline.

A new lecture is a file ``lectures/NN_title.md`` and a row in ``lectures/index.md``; a notebook, a
handout, a guide in ``docs/``, a kept claim and a module need nothing here. ``pages.py`` collects
them, ``directives.py`` adds ``{source}`` and ``{claim}``, ``api.py`` reads the reference from the
source, ``notebooks.py`` executes.
"""

"""What pyproject.toml cannot say: the course goes into the wheel, and a README without dead links.

In the repository lectures, notebooks and guides stand at the top, where readers look for them; in a
wheel they lie in ``minissl/_course``, and ``minissl/course.py`` finds them in both.
"""

import importlib.util
import shutil
import sys
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent


def module_of(path):
    """A module of the ground floor by its file; the package would need NumPy, a build does not."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


course = module_of(HERE / "minissl" / "course.py")


class BuildWithCourse(build_py):
    """Builds from nothing, so that no file of an earlier build is packed; adds the course."""

    def run(self):
        if self.editable_mode:
            super().run()
            return
        for package in {name.partition(".")[0] for name in self.packages}:
            shutil.rmtree(Path(self.build_lib, package), ignore_errors=True)
        super().run()
        carried = Path(self.build_lib, "minissl", course.CARRIED.name)
        for path in sorted(path for pattern in course.PATTERNS for path in HERE.glob(pattern)):
            target = carried / path.relative_to(HERE)
            self.mkpath(str(target.parent))
            self.copy_file(str(path), str(target), preserve_mode=False)


def long_description():
    """The README for a package index: links to files of the repository lead nowhere there.

    Unless [project.urls] has a Repository, as it may one day: then they lead to it.
    """
    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (HERE / "README.md").read_text(encoding="utf-8")
    return course.unlinked(text, repository=project.get("urls", {}).get("Repository", ""))


setup(
    cmdclass={"build_py": BuildWithCourse},
    long_description=long_description(),
    long_description_content_type="text/markdown",
)

"""A plugin of pytest, ``-p benchmarks.gpu_day.report``, for a run that has little time.

Every failure is on disk at once. Behind the deadline tests are skipped, not killed, so that pytest
ends by itself. Tests that an earlier visit has done are left out.
"""

import os
import time
from pathlib import Path

import pytest

from benchmarks.gpu_day.folder import Folder, good

STAGE, OVER = "tests", "the time was over"
folder = Folder(Path(os.environ["GPU_DAY_RESULTS"]))
end = float(os.environ["GPU_DAY_UNTIL"])
size = int(os.environ["GPU_DAY_JOURNAL"])  # of the journal's bytes: every process reads the same


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # xdist's workers send their reports to this process
        config.pluginmanager.register(Reports())


def pytest_collection_modifyitems(config, items):
    done = folder.done(STAGE, size)
    before = [item for item in items if item.nodeid in done]
    if before:
        config.hook.pytest_deselected(items=before)
        items[:] = [item for item in items if item.nodeid not in done]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if time.time() > end:
        pytest.skip(OVER)


class Reports:
    """Each test's end in the journal; at the end of all, whether any was left out."""

    left_out = 0

    def pytest_runtest_logreport(self, report):
        if report.outcome == "passed" and report.when != "call":
            return
        if report.outcome == "skipped" and OVER in str(report.longrepr):
            self.left_out += 1
            return
        folder.note(stage=STAGE, part=report.nodeid, said=report.outcome, seconds=report.duration)
        if not good(report.outcome):
            folder.failed(f"test {report.nodeid} ({report.when})", report.longreprtext[-4000:])

    def pytest_sessionfinish(self, exitstatus):
        codes = pytest.ExitCode
        if not self.left_out and exitstatus in (
            codes.OK, codes.TESTS_FAILED, codes.NO_TESTS_COLLECTED
        ):  # fmt: skip
            folder.note(stage="stages", part=STAGE, said="ok")

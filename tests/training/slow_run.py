"""A program: one run of the tiny method that takes its time, to be killed from outside.

python -m tests.training.slow_run FOLDER STEPS SECONDS_PER_STEP
"""

import signal
import sys
import time
from pathlib import Path

from tests.training.tiny import TinyMethod, run_tiny


class SlowMethod(TinyMethod):
    """Waits ``pause`` seconds in every batch."""

    def __init__(self, pause):
        super().__init__()
        self.pause = pause

    def batch(self, generator):
        time.sleep(self.pause)
        return super().batch(generator)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    folder, steps, pause = sys.argv[1:]
    run_tiny(Path(folder), steps=int(steps), log_every=1, method=SlowMethod(float(pause)))

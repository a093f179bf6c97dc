"""What a person sees while it trains, and how they stop it: the progress line and Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class Progress:
    """Loss, learning rate and speed on stderr: a bar in a terminal, a few lines in a log file."""

    def __init__(self, start: int, steps: int, enabled: bool | str):
        self.start, self.steps, self.enabled = start, steps, bool(enabled) and start < steps
        self.label = f"{enabled}: " if isinstance(enabled, str) else ""
        self.started = self.last_line = time.perf_counter()
        self.bar: Any = None
        if self.enabled and sys.stderr.isatty():
            from tqdm import tqdm

            options = {"desc": self.label.removesuffix(": ") or None, "dynamic_ncols": True}
            self.bar = tqdm(total=steps, initial=start, unit="step", **options)

    def show(self, step: int, loss: float, lr: float) -> None:
        """Called after every step."""
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {loss:.4f}, lr {lr:.1e}", refresh=False)
            self.bar.update(1)
        elif self.enabled and self._line_is_due(step):
            self.last_line = time.perf_counter()
            rate = (step - self.start) / max(self.last_line - self.started, 1e-9)
            line = f"step {step}/{self.steps}  loss {loss:.4f}  lr {lr:.1e}  {rate:.3g} steps/s"
            print(self.label + line, file=sys.stderr, flush=True)

    def _line_is_due(self, step: int) -> bool:
        """The first step, every tenth of the run, and once a minute."""
        tenth = step * 10 // self.steps > (step - 1) * 10 // self.steps
        return step == self.start + 1 or tenth or time.perf_counter() - self.last_line > 60

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()


class Items:
    """Items of long work, one after the other: a bar in a terminal, a line each in a log file."""

    def __init__(self, items: Sequence[Any], label: str, enabled: bool = True):
        self.items, self.label, self.enabled = items, label, enabled
        self.bar: Any = None

    def __iter__(self) -> Iterator[Any]:
        from tqdm import tqdm

        shown = self.enabled and sys.stderr.isatty()
        with tqdm(self.items, desc=self.label, disable=not shown) as self.bar:
            for number, item in enumerate(self.bar, start=1):
                if self.enabled and not shown:
                    line = f"{self.label}: {number} of {len(self.items)}"
                    print(line, file=sys.stderr, flush=True)
                yield item

    def note(self, text: str) -> None:
        """What is being done with the present item."""
        self.bar.set_postfix_str(text)


def patiently(items: Sequence[Any], label: str) -> Iterator[Any]:
    """The items, with a bar in a terminal once they take longer than a second; "": without one."""
    if not label or not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, desc=label, delay=1, leave=False, dynamic_ncols=True)


@contextmanager
def postponed_interrupt() -> Iterator[Callable[[], bool]]:
    """Within this block Ctrl-C waits to be asked for, so that no step is left half done.

    Yields a function that says whether Ctrl-C was pressed; a second Ctrl-C acts at once, and one
    that nobody asked for acts at the end of the block. Only the main thread can do this, and only
    where Ctrl-C has its usual meaning; elsewhere nothing is changed.
    """
    usual = signal.default_int_handler
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not usual:
        yield lambda: False
        return
    pressed: list[int] = []

    def remember(number: int, frame: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, usual)
    if pressed:
        raise KeyboardInterrupt("interrupted after the last step")

"""The report of a check: lines that only a process which was given the key can have written.

The student's code runs in the process that reports. It can write to every descriptor and read what
goes through a pipe, but each line is signed, with its number, by a key that was drawn for this one
process and is in no file, no environment and no line. So what is not signed, what was changed, and
what is said a second time, is nothing.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
from typing import Any

LONGEST = 1 << 20  # bytes of a line
_LINE = re.compile(rb"([0-9a-f]{64}) (\d{1,9}) (.*)", re.DOTALL)


def new_key() -> str:
    """A key for one process, as text."""
    return secrets.token_hex(32)


def _sign(key: bytes, number: int, text: bytes) -> str:
    return hmac.digest(key, b"%d %s" % (number, text), "sha256").hex()


class Report:
    """What a child writes. ``file``: a descriptor. A process that it forks cannot write any."""

    def __init__(self, file: int, key: str):
        self.file, self.key, self.number, self.owner = file, key.encode(), 0, os.getpid()

    def add(self, **line: Any) -> None:
        """One line, at once. What somebody began in front of it is ended first."""
        if os.getpid() != self.owner:
            return
        self.number += 1
        text = json.dumps(line).encode()
        signature = _sign(self.key, self.number, text)
        data = b"\n%s %d %s\n" % (signature.encode(), self.number, text)
        while data:
            data = data[os.write(self.file, data) :]


class Received:
    """What the parent believes of it. ``lines``: the signed ones, in the order of their numbers."""

    def __init__(self, key: str):
        self.key, self.number, self.rest = key.encode(), 0, b""
        self.lines: list[dict[str, Any]] = []

    def take(self, chunk: bytes) -> None:
        """More bytes of the report."""
        *lines, rest = (self.rest + chunk).split(b"\n")
        self.rest = rest[-LONGEST:]  # ours begin a line, and are not longer
        for line in lines:
            found = _LINE.fullmatch(line) if len(line) <= LONGEST else None
            if found is None:
                continue
            signature, number, text = found[1], int(found[2]), found[3]
            right = _sign(self.key, number, text).encode()
            if number > self.number and hmac.compare_digest(signature, right):
                self.number = number
                self.lines.append(json.loads(text))

"""What other systems lack or do otherwise: imitated here, and looked for in the sources."""

import os

import pytest

# For tests that send signals, start a shell, look into /proc, or set modes and limits.
posix = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs signals, sh, limits or /proc")

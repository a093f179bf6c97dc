"""What one of two processes does in the tests: adapt the runs in a folder in every way.

Usage: torchrun ... -m tests.adapt.in_processes FOLDER ADAPTATION ...
"""

import hashlib
import sys
from pathlib import Path

from minissl.autograd.processes import FailedElsewhere, joined, world
from minissl.pretrain.run import open_run
from tests.adapt.toy import PAIRS, adapted
from tests.pretrain.in_processes import slow_disk


def one(name, opened, place):
    """Adapt, load what is finished, be refused other data; returns the weights' hashes."""
    adapted(name, opened, place)
    method = adapted(name, opened, place).method
    try:
        adapted(name, opened, place, data_seed=1)
        lines = ["taken"]
    except (ValueError, FailedElsewhere) as error:
        lines = ["refused" if "begun with other data" in str(error) else str(error)]
    state = sorted(method.saved().state_dict().items())
    lines += [f"{key} {hashlib.sha256(array.tobytes()).hexdigest()}" for key, array in state]
    return "\n".join(lines)


def main():
    folder, *names = Path(sys.argv[1]), *sys.argv[2:]
    with joined("cpu"):
        slow_disk()
        for name, base in PAIRS:
            if name in names:
                opened = open_run(folder / base)
                text = one(name, opened, folder / f"{base}-{name}")
                (folder / f"{base}-{name}-{world().rank}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

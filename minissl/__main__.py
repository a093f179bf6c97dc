"""``python -m minissl``: see ``minissl.cli``."""

import sys

from minissl.cli import main

if __name__ == "__main__":
    sys.exit(main())

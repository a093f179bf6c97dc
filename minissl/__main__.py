"""``python -m minissl``: see ``minissl.cli``."""

import sys


def main() -> int:
    """Run the command line; Ctrl-C while Python is still importing is no traceback either."""
    try:
        from minissl.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

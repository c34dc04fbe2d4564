"""The command `facemill`: takes an interrupt also while the command line is being loaded."""

from __future__ import annotations

import sys


def main() -> None:
    """Load the command line and run it."""
    try:
        from flows.cli import main as run
    except KeyboardInterrupt:
        print("facemill: interrupted before anything was begun", file=sys.stderr)
        sys.exit(130)
    run()

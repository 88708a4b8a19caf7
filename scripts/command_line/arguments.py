"""How every script ends: an exit code that means something, and no traceback for a user's mistake."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from handler.errors import ServiceError


def argument_parser(description: str, example: str) -> argparse.ArgumentParser:
    """A parser whose `--help` ends with an example."""
    return argparse.ArgumentParser(
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(command: Callable[[], int | None]) -> int:
    """Run a script's body: 0 it did what was asked, 1 it couldn't (one line on stderr says why), 130 Ctrl-C.

    Wrong arguments end with 2, by argparse.
    """
    try:
        return command() or 0
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        sys.stderr.close()
        return 0

"""Arguments and exit codes of every verb: one line instead of a traceback."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handler.errors import ServiceError
from scripts import VERSION


def argument_parser(description: str, example: str) -> argparse.ArgumentParser:
    """A parser whose `--help` ends with an example, and whose `--version` prints the project's."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        conflict_handler="resolve",  # build_archive.py has a --version of its own, the archive's
    )
    parser.add_argument("--version", action="version", version=VERSION, help="print the project's version")
    return parser


def add_gateway_options(parser: argparse.ArgumentParser, prefix: str = "") -> None:
    """Add the options that say who may ask a gateway, and how often; read as `gateway_keys` and so on."""

    def add(name: str, **options: Any) -> None:
        dest = f"gateway_{name.replace('-', '_')}"
        parser.add_argument(f"--{prefix}{name}", dest=dest, **options)

    add("keys", type=Path, metavar="FILE", help="API keys, one a line (default: none needed)")
    add(
        "trusted-proxy",
        action="append",
        metavar="ADDRESS_OR_NETWORK",
        help="a proxy whose X-Forwarded-For names the client; repeat it for more, 'none' trusts nobody "
        "(loopback)",
    )
    add("rate", type=positive_integer, default=10, help="requests a second from one address (10)")
    add("large-rate", type=positive_integer, default=1, help="of these with 1,000 bytes or more (1)")


def positive_integer(text: str) -> int:
    """An argument's type: a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def whole_number(text: str) -> int:
    """An argument's type: a whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def positive_number(text: str) -> float:
    """An argument's type: a finite number above 0, such as a time in seconds."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def add_topic_arguments(parser: argparse.ArgumentParser, template: str) -> None:
    """Add the options by which a verb takes texts and labels instead of pairs."""
    group = parser.add_argument_group("topics: which of some labels a text is about")
    group.add_argument("--labels", metavar="LABEL,LABEL", help="such as 정치,경제,스포츠")
    group.add_argument(
        "--template",
        metavar="TEXT",
        default=template,
        help=f"a hypothesis with {{}} for the label (default: {template})",
    )
    group.add_argument("--multi", action="store_true", help="a text may have several of the labels, or none")
    group.add_argument("--text-column", metavar="NAME", help="default: text, sentence, document, 본문, ...")


def has_topics(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> bool:
    """Whether topics are asked for; options of theirs without labels end the verb."""
    template = arguments.template != parser.get_default("template")
    if arguments.labels is None and (template or arguments.multi or arguments.text_column):
        parser.error("--template, --multi and --text-column need --labels")
    return arguments.labels is not None


def run(command: Callable[[], int | None]) -> int:
    """Run a verb's body: 0 it did what was asked, 1 it couldn't (one line on stderr says why), 130 Ctrl-C.

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
    except OSError as error:  # a full disk, a folder without permission
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 1

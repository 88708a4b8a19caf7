"""Operate a running service: see, add, promote, roll back, retire and scale versions, losing no request."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from scripts import PROJECT
from scripts.command_line.arguments import argument_parser, run
from scripts.torchserve.management import Management, Version, inference_url
from scripts.torchserve.operations import Gate, Operations

MEMORY = PROJECT / ".run" / "promotions.json"
KEY_FILE = "TORCHSERVE_KEY_FILE"


def format_versions(versions: list[Version]) -> str:
    """A table for people, one row a version."""
    rows = [("", "VERSION", "WORKERS", "QUEUED", "ARCHIVE")]
    rows += [
        (
            "*" if each.is_default else "",
            each.version,
            f"{len(each.ready)}/{each.wanted} ready",
            str(each.queued),
            each.archive,
        )
        for each in versions
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*(line.rstrip() for line in lines), "* answers where the URL names no version"])


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    main_parser = argument_parser(
        __doc__ or "",
        "python scripts/manage.py rollout model_store/nli-2.0.mar --evaluate dev.tsv --max-drop 0.01",
    )
    main_parser.add_argument(
        "--url", default="http://127.0.0.1:8081", help="management API (default: %(default)s)"
    )
    main_parser.add_argument("--inference-url", help="inference API (default: one port below --url)")
    main_parser.add_argument("--model", default="nli", help="name in the URL (default: nli)")
    main_parser.add_argument(
        "--key-file",
        type=Path,
        default=os.environ.get(KEY_FILE),
        help=f"TorchServe's key_file.json, where its token mode is on (default: ${KEY_FILE})",
    )
    main_parser.add_argument(
        "--time-limit", type=float, default=300, metavar="SECONDS", help="for the command (default: 300)"
    )
    main_parser.add_argument("--json", action="store_true", help="print the result as JSON")
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="show versions, workers and queues")
    commands.add_parser("ready", help="exit 0 if every worker of the default version answers, else 1")
    register = commands.add_parser("register", help="add a version from the model store")
    register.add_argument("archive", type=Path, metavar="ARCHIVE")
    register.add_argument(
        "--workers", type=_positive, help="default: at least as many as the default version has"
    )
    commands.add_parser("promote", help="make a version the default").add_argument(
        "version", metavar="VERSION"
    )
    commands.add_parser("rollback", help="undo the last promotion")
    retire = commands.add_parser("retire", help="remove a version when it has nothing left to do")
    retire.add_argument("version", metavar="VERSION")
    scale = commands.add_parser("scale", help="set a version's number of workers")
    scale.add_argument("version", metavar="VERSION")
    scale.add_argument("workers", type=_positive, metavar="N")
    rollout = commands.add_parser("rollout", help="register, evaluate, promote, retire what was before")
    rollout.add_argument("archive", type=Path, metavar="ARCHIVE")
    rollout.add_argument(
        "--workers", type=_positive, help="default: at least as many as the default version has"
    )
    rollout.add_argument(
        "--evaluate", type=Path, metavar="FILE", help="labelled pairs that the version must pass"
    )
    rollout.add_argument(
        "--min-accuracy", type=float, default=0.0, metavar="X", help="from 0 to 1 (default: 0)"
    )
    rollout.add_argument(
        "--max-drop", type=float, default=1.0, metavar="Y", help="below the default's accuracy (default: 1)"
    )
    return main_parser


def perform(arguments: argparse.Namespace, operations: Operations) -> None:
    """Do what the command says.

    Raises:
        ServiceError: it couldn't be done.
    """
    match arguments.command:
        case "ready":
            operations.ready()
        case "register":
            operations.register(arguments.archive, arguments.workers)
        case "promote":
            operations.promote(arguments.version)
        case "rollback":
            operations.rollback()
        case "retire":
            operations.retire(arguments.version)
        case "scale":
            operations.scale(arguments.version, arguments.workers)
        case "rollout":
            gate = None
            if arguments.evaluate:
                gate = Gate(arguments.evaluate, arguments.min_accuracy, arguments.max_drop)
            operations.rollout(arguments.archive, arguments.workers, gate)


def main() -> int:
    """Read the arguments, do it, and say what changed."""
    main_parser = parser()
    arguments = main_parser.parse_args()
    if (
        arguments.command == "rollout"
        and not arguments.evaluate
        and (arguments.min_accuracy or arguments.max_drop < 1)
    ):
        main_parser.error("--min-accuracy and --max-drop need --evaluate")
    done: list[str] = []

    def say(line: str) -> None:
        done.append(line)
        if not arguments.json:
            print(line, flush=True)

    management = Management(arguments.url, arguments.model, arguments.key_file)
    inference = arguments.inference_url or inference_url(arguments.url)
    perform(arguments, Operations(management, inference, say, MEMORY, arguments.time_limit))
    versions = management.versions()
    if arguments.json:
        print(
            json.dumps({"done": done, "versions": [_as_json(each) for each in versions]}, ensure_ascii=False)
        )
    elif arguments.command == "list":
        print(format_versions(versions))
    elif arguments.command == "ready":
        print("ready")
    return 0


def _as_json(version: Version) -> dict[str, object]:
    return asdict(version) | {"ready": len(version.ready)}


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(run(main))

"""Operate a running service: see, add, promote, roll back, retire and scale versions, losing no request."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts import PROJECT
from scripts.command_line.arguments import argument_parser, positive_integer, positive_number, run
from scripts.command_line.tables import text_table
from scripts.pairs.client import TOKEN
from scripts.torchserve.acceptance import Gate
from scripts.torchserve.management import Management, OperationError, Version, inference_url
from scripts.torchserve.operations import Operations
from scripts.torchserve.readiness import fault_of

RUN = PROJECT / ".run"

FACTS_SECONDS = 10
"""Time limit for a version to say where its model comes from: the question waits behind requests."""
READING = ("list", "ready")
CLUSTER = "KUBERNETES_SERVICE_HOST"
"""Environment variable that Kubernetes sets in every container."""


def main() -> int:
    """Read the arguments, carry out the command, and print what changed."""
    main_parser = _parser()
    arguments = main_parser.parse_args()
    gate = None
    if arguments.command == "rollout":
        if arguments.evaluate:
            gate = Gate(arguments.evaluate, arguments.min_accuracy, arguments.max_drop)
        elif arguments.min_accuracy or arguments.max_drop < 1:
            main_parser.error("--min-accuracy and --max-drop need --evaluate")
    if arguments.command not in READING and CLUSTER in os.environ:
        raise OperationError(
            "in a cluster versions come from the chart or the InferenceService (docs/cluster.md); "
            "a change here would be this pod's alone, and gone with it"
        )
    done: list[str] = []

    def say(line: str) -> None:
        done.append(line)
        if arguments.json:
            return
        try:
            print(line, flush=True)
        except OSError:  # the reader has gone, or the disk is full; the operation goes on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: undo what has been begun
    management = Management(arguments.url, arguments.model, os.environ.get(TOKEN))
    inference = arguments.inference_url or inference_url(arguments.url)
    memory = arguments.folder / "promotions.json"
    operations = Operations(management, inference, say, memory, arguments.time_limit)
    match arguments.command:
        case "ready":
            if fault := fault_of(management):
                raise OperationError(fault)
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
            operations.rollout(arguments.archive, arguments.workers, gate)
    versions = management.versions()
    if arguments.json:
        found = [asdict(each) | {"ready": len(each.ready)} for each in versions]
        if arguments.command == "list":
            for each in found:
                each["model"] = _facts(management, each["version"]) if each["ready"] else None
        print(json.dumps({"done": done, "versions": found}, ensure_ascii=False))
    elif arguments.command == "list":
        print(format_versions(versions))
    elif arguments.command == "ready":
        print("ready")
    return 0


def _facts(management: Management, version: str) -> dict[str, Any] | None:
    """Where a version's model comes from; None where no worker says so in time."""
    try:
        return management.facts(version, FACTS_SECONDS)
    except OperationError:
        return None


def format_versions(versions: list[Version]) -> str:
    """A table for people, one row a version."""
    rows = [
        (
            "*" if each.is_default else "",
            each.version,
            f"{len(each.ready)}/{each.wanted} ready",
            str(each.queued),
            each.archive,
        )
        for each in versions
    ]
    table = text_table([("", "VERSION", "WORKERS", "QUEUED", "ARCHIVE"), *rows])
    return f"{table}\n* answers where the URL names no version"


def _parser() -> argparse.ArgumentParser:
    main_parser = argument_parser(
        __doc__ or "",
        "python scripts/manage.py rollout model_store/nli-2.0.mar --evaluate dev.tsv --max-drop 0.01\n\n"
        f"{TOKEN} in the environment is sent as `Authorization: Bearer ...`, where the service wants one.",
    )
    main_parser.add_argument(
        "--url", default="http://127.0.0.1:8081", help="management API (default: %(default)s)"
    )
    main_parser.add_argument("--inference-url", help="inference API (default: one port below --url)")
    main_parser.add_argument("--model", default="nli", help="name in the URL (default: nli)")
    main_parser.add_argument(
        "--folder", type=Path, default=RUN, help="remembers the last promotion, for rollback (.run)"
    )
    main_parser.add_argument(
        "--time-limit",
        type=positive_number,
        default=300,
        metavar="SECONDS",
        help="for the command (default: 300)",
    )
    main_parser.add_argument("--json", action="store_true", help="print the result as JSON")

    archive = argparse.ArgumentParser(add_help=False)
    archive.add_argument("archive", type=Path, metavar="ARCHIVE")
    archive.add_argument(
        "--workers", type=positive_integer, help="default: at least as many as the default version has"
    )
    version = argparse.ArgumentParser(add_help=False)
    version.add_argument("version", metavar="VERSION")

    commands = main_parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="show versions, workers and queues")
    commands.add_parser("ready", help="exit 0 if the default version has a ready worker, else 1")
    commands.add_parser("register", parents=[archive], help="add a version from the model store")
    commands.add_parser("promote", parents=[version], help="make a version the default")
    commands.add_parser("rollback", help="undo the last promotion")
    commands.add_parser("retire", parents=[version], help="remove a version once it has no work left")
    scale = commands.add_parser("scale", parents=[version], help="set a version's number of workers")
    scale.add_argument("workers", type=positive_integer, metavar="N")
    rollout = commands.add_parser(
        "rollout", parents=[archive], help="register, evaluate, promote, retire the default before"
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
    for each in commands.choices.values():  # before a command and after it
        each.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print the result as JSON"
        )
    return main_parser


if __name__ == "__main__":
    sys.exit(run(main))

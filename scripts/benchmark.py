"""Compare this service with the tutorial's way, its own bare engine and other servers, in one run."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import random
import sys
import tempfile
import zipfile
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from handler.checkpoint import Checkpoint
from handler.encoding import PairEncoder
from scripts.bench.comparison import PACKAGES, benchmark, generated_pairs, start_targets
from scripts.bench.report import draw, to_markdown
from scripts.command_line.arguments import argument_parser, positive_integer, positive_number, run
from scripts.pairs.labelled import read_labelled_pairs


def main() -> int:
    """Read the arguments, start what is measured, measure, and write the results."""
    parser = argument_parser(
        __doc__ or "",
        "python scripts/benchmark.py --checkpoint checkpoints/demo --archive model_store/nli-1.0.mar",
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="converted, for the tutorial's way")
    parser.add_argument(
        "--archive",
        type=Path,
        action="append",
        required=True,
        help="of that model; repeat for each precision",
    )
    parser.add_argument("--data", type=Path, help="pairs to ask, such as KLUE's; default: generated ones")
    parser.add_argument(
        "--clients", type=positive_integer, nargs="+", default=[1, 8, 32, 64], help="(1 8 32 64)"
    )
    parser.add_argument("--seconds", type=positive_number, default=5, help="of each measurement (5)")
    parser.add_argument("--rounds", type=positive_integer, default=3, help="(3)")
    parser.add_argument(
        "--workers",
        type=positive_integer,
        nargs="+",
        help="of the service and its peers; several are compared (default: as scripts/serve does)",
    )
    parser.add_argument("--without", nargs="+", default=[], choices=[*PACKAGES], help="what to leave out")
    parser.add_argument(
        "--quick", action="store_true", help="1 and 4 clients, one round of 1 s: does it run?"
    )
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--plot", type=Path, help="draw an SVG here")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.clients, arguments.seconds, arguments.rounds = [1, 4], 1.0, 1
    rows = read_labelled_pairs(arguments.data) if arguments.data else []
    pairs = [row.pair for row in random.Random(0).sample(rows, min(1000, len(rows)))] or generated_pairs(1000)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        folders = [scratch / f"model{index}" for index in range(len(arguments.archive))]
        for archive, folder in zip(arguments.archive, folders, strict=True):
            with zipfile.ZipFile(archive) as content:
                content.extractall(folder)
        targets, ready = start_targets(arguments, folders, pairs, stack)
        checkpoint = Checkpoint.read(folders[-1])
        encoded = PairEncoder.from_folder(folders[-1], checkpoint.max_seq_length).encode(pairs)
        about = {
            "model": checkpoint.name,
            "pairs": len(pairs),
            "tokens": float(np.mean([len(pair.input_ids) for pair in encoded])),
            "machine": _processor(),
            "cores": os.cpu_count(),
            "date": datetime.now(UTC).date().isoformat(),
            "ready": ready,
        }
        found = benchmark(targets, arguments.clients, arguments.seconds, arguments.rounds)
    print(to_markdown(found, arguments.seconds, arguments.rounds, about))
    if arguments.json:
        content_ = {"about": about, "rows": [{"name": row.name} | asdict(row.measured) for row in found]}
        arguments.json.write_text(json.dumps(content_, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if arguments.plot:
        draw(found, arguments.plot)
    return 0


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(run(main))

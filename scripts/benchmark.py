"""Compare this service with the tutorial's way, its own bare engine and other servers, in one run."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import asdict
from pathlib import Path

from scripts.bench.comparison import compare, generated_pairs
from scripts.bench.full_size import make_full_size
from scripts.bench.plan import PACKAGES, Plan
from scripts.bench.report import to_markdown
from scripts.command_line.arguments import argument_parser, positive_integer, positive_number, run
from scripts.pairs.labelled import read_labelled_pairs


def main() -> int:
    """Read the arguments, measure, and write the results."""
    parser = argument_parser(
        __doc__ or "",
        "python scripts/benchmark.py --checkpoint checkpoints/demo --archive model_store/nli-1.0.mar",
    )
    parser.add_argument("--checkpoint", type=Path, help="converted, for the tutorial's way")
    parser.add_argument(
        "--archive", type=Path, action="append", default=[], help="of that model; repeat for each precision"
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
        default=[],
        help="of the service and its peers; several are compared (default: as scripts/serve does)",
    )
    parser.add_argument("--without", nargs="+", default=[], choices=[*PACKAGES], help="what to leave out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    parser.add_argument(
        "--make-full-size",
        type=Path,
        metavar="FOLDER",
        help="measure nothing: write a checkpoint of KcBERT's shape with random weights, whose vocabulary "
        "has the words of --data",
    )
    arguments = parser.parse_args()
    pairs = [row.pair for row in read_labelled_pairs(arguments.data)] if arguments.data else []
    if arguments.make_full_size:
        texts = (text for pair in pairs or generated_pairs(1000) for text in (pair.premise, pair.hypothesis))
        make_full_size(texts, arguments.make_full_size)
        print(f"wrote {arguments.make_full_size}; its weights are random, and so are its answers")
        return 0
    if not arguments.checkpoint or not arguments.archive:
        parser.error("--checkpoint and --archive are needed")
    plan = Plan(arguments.checkpoint, arguments.archive, arguments.workers, arguments.without)
    sample = random.Random(0).sample(pairs, min(1000, len(pairs))) or generated_pairs(1000)
    rows, conditions = compare(plan, sample, arguments.clients, arguments.seconds, arguments.rounds)
    print(to_markdown(rows, conditions))
    if arguments.json:
        figures = [{"name": row.name} | asdict(row.measured) for row in rows]
        content = {"about": asdict(conditions), "rows": figures}
        arguments.json.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))

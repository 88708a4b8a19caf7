"""Measure a model on labelled pairs: accuracy, confusion, F1 per class and calibration."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from scripts.command_line.arguments import argument_parser, run
from scripts.pairs.client import DEFAULT_URL
from scripts.pairs.evaluation import evaluate_checkpoint, evaluate_url
from scripts.pairs.labelled import read_labelled_pairs


def main() -> int:
    """Read the arguments, measure, and print the figures."""
    parser = argument_parser(
        __doc__ or "",
        "python scripts/evaluate.py --data klue-nli-v1.1_dev.json --checkpoint checkpoints/demo",
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="KLUE-NLI .json, KorNLI .tsv or .jsonl, also gzipped"
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", help=f"a running service, such as {DEFAULT_URL}")
    where.add_argument("--checkpoint", type=Path, help="a converted checkpoint, measured in this process")
    parser.add_argument(
        "--model", default="nli", help="name in the URL, NAME/VERSION to pin one (default: nli)"
    )
    parser.add_argument("--token", help="TorchServe's inference key, where the service asks for one")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    pairs = read_labelled_pairs(arguments.data)
    if arguments.url:
        result = evaluate_url(arguments.url, pairs, arguments.model, arguments.token)
    else:
        result = evaluate_checkpoint(arguments.checkpoint, pairs)
    print(json.dumps(asdict(result), ensure_ascii=False, indent=2) if arguments.json else result.to_text())
    return 0


if __name__ == "__main__":
    sys.exit(run(main))

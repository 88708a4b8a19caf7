"""Measure a model on labelled pairs: accuracy, confusion, F1 per class and calibration."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from scripts.command_line.arguments import add_topic_arguments, argument_parser, has_topics, run
from scripts.pairs.client import DEFAULT_URL, TOKEN
from scripts.pairs.evaluation import evaluate_checkpoint, evaluate_url
from scripts.pairs.labelled import read_labelled_pairs
from scripts.pairs.topics import TEMPLATE, Topics


def main() -> int:
    """Read the arguments, measure, and print the figures."""
    parser = argument_parser(
        __doc__ or "",
        "python scripts/evaluate.py --data klue-nli-v1.1_dev.json --checkpoint checkpoints/demo",
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="labelled pairs: KLUE-NLI, KorNLI, or as classify.py reads"
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--url",
        help=f"a running service, such as {DEFAULT_URL}; ${TOKEN} holds its key, where it asks for one",
    )
    where.add_argument("--checkpoint", type=Path, help="a converted checkpoint, measured in this process")
    parser.add_argument(
        "--model", default="nli", help="name in the URL, NAME/VERSION to pin one (default: nli)"
    )
    parser.add_argument(
        "--label-order",
        nargs="+",
        metavar="LABEL",
        help="what the numbers 0, 1, ... in the file mean (default: the model's labels in their order)",
    )
    add_topic_arguments(parser, TEMPLATE)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    topics = None
    if has_topics(parser, arguments):
        topics = Topics.of(arguments.labels, arguments.template, arguments.multi)
    pairs = read_labelled_pairs(arguments.data, arguments.text_column, single=topics is not None)
    if arguments.url:
        token = os.environ.get(TOKEN)
        result = evaluate_url(arguments.url, pairs, arguments.model, token, arguments.label_order, topics)
    else:
        result = evaluate_checkpoint(arguments.checkpoint, pairs, arguments.label_order, topics)
    print(json.dumps(asdict(result), ensure_ascii=False, indent=2) if arguments.json else result.to_text())
    return 0


if __name__ == "__main__":
    sys.exit(run(main))

"""Make a checkpoint of KcBERT's shape with random weights, to measure speed and memory with."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.bench.full_size import make_full_size
from scripts.command_line.arguments import argument_parser, run
from scripts.pairs.labelled import read_labelled_pairs


def main() -> int:
    """Read the arguments, make the checkpoint, and say where it is."""
    parser = argument_parser(
        __doc__ or "",
        "python scripts/make_full_size.py --data klue-nli-v1.1_train.json --output checkpoints/full-size",
    )
    parser.add_argument("--data", type=Path, required=True, help="pairs whose words the vocabulary has")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    pairs = [row.pair for row in read_labelled_pairs(arguments.data)]
    output = make_full_size(
        (text for pair in pairs for text in (pair.premise, pair.hypothesis)), arguments.output
    )
    print(f"wrote {output}; its weights are random, and so are its answers")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))

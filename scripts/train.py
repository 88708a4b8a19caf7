"""Fine-tune an encoder on labelled sentence pairs, or distil a classifier into one with fewer layers.

Some pairs of the first file are held out, by premise, and the model that does best on them is written as a
Hugging Face folder. A run that was killed goes on from its last saved state when it is started anew with the
same arguments.
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.command_line.arguments import (
    argument_parser,
    positive_integer,
    positive_number,
    run,
    whole_number,
)
from scripts.model.trainer import Recipe
from scripts.model.training import train


def main() -> int:
    """Read the arguments, train, and say how the model does."""
    parser = argument_parser(
        __doc__ or "",
        "python scripts/train.py --pretrained build/encoder --data klue-nli-v1.1_train.json.gz "
        "--test 2000 --output build/trained\n"
        "  python scripts/train.py --teacher build/trained --layers 6 --data klue-nli-v1.1_train.json.gz "
        "--test 2000 --output build/distilled\n"
        "  python scripts/convert_checkpoint.py --checkpoint build/distilled --output checkpoints/mine "
        "--max-seq-length 128",
    )
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument(
        "--pretrained",
        metavar="NAME_OR_FOLDER",
        help="encoder to fine-tune: a Hugging Face name, or a folder such as scripts/make_encoder.py writes",
    )
    start.add_argument(
        "--teacher",
        metavar="CHECKPOINT",
        help="classifier to distil, as a Hugging Face folder; pairs for that may lack labels",
    )
    parser.add_argument(
        "--layers",
        type=positive_integer,
        metavar="N",
        help="layers of the distilled model (default: as the teacher)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="labelled pairs, in the files that evaluate.py reads; pairs are held out of the first",
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder to write: new, empty, or of the run to go on with"
    )
    parser.add_argument(
        "--max-seq-length", type=positive_integer, default=128, help="tokens of a pair (default: 128)"
    )
    parser.add_argument("--epochs", type=positive_number, default=3, help="passes over the data (default: 3)")
    parser.add_argument(
        "--learning-rate", type=positive_number, default=8e-5, help="highest rate (default: 8e-5)"
    )
    parser.add_argument("--seed", type=whole_number, default=0, help="of order and new weights (default: 0)")
    parser.add_argument(
        "--held-out",
        type=positive_integer,
        metavar="N",
        help="pairs to choose the best model on (default: a tenth of the first file, 1500 at most)",
    )
    parser.add_argument(
        "--test",
        type=whole_number,
        default=0,
        metavar="N",
        help="pairs to set aside in OUTPUT/test.jsonl for a measurement at the very end (default: 0)",
    )
    parser.add_argument("--quick", action="store_true", help="learn from 400 pairs: a test in seconds")
    arguments = parser.parse_args()
    if arguments.layers is not None and not arguments.teacher:
        parser.error("--layers needs --teacher")
    given = vars(arguments) | {"data": tuple(map(str, arguments.data))}
    output: Path = given.pop("output")
    figures = train(Recipe(**given), output)
    if figures is None:
        return 0
    if "held_out" in figures:
        held_out = figures["held_out"]
        print(f"held out: {held_out['accuracy']:.2%} of {held_out['pairs']} pairs")
    else:
        agreement = figures["agreement_with_teacher"]
        print(
            f"agrees with the teacher on {agreement['share']:.2%} of {agreement['pairs']} held-out pairs, "
            "of which none has a gold label"
        )
    print(
        f"wrote {output}\nnext: python scripts/convert_checkpoint.py --checkpoint "
        f"{output} --output checkpoints/NAME --max-seq-length {arguments.max_seq_length}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(run(main))

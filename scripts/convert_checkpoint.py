"""Convert a ratsnlp / PyTorch Lightning checkpoint into a Hugging Face folder that can be served."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.command_line.arguments import argument_parser, run
from scripts.model.conversion import convert_checkpoint
from scripts.model.weights import choose_checkpoint


def main() -> int:
    """Read the arguments, convert, and say what was done."""
    parser = argument_parser(
        __doc__ or "",
        "python scripts/convert_checkpoint.py --checkpoint checkpoint-paircls "
        "--pretrained beomi/kcbert-base --output checkpoints/kcbert-nli",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="FILE_OR_FOLDER",
        help="a .ckpt file, a folder of them (the lowest val_loss is taken), or a Hugging Face folder",
    )
    parser.add_argument(
        "--pretrained",
        metavar="NAME_OR_FOLDER",
        help="what was fine-tuned: a Hugging Face name such as beomi/kcbert-base, or a folder with its "
        "config and tokenizer; its weights aren't needed. Default for a Hugging Face folder: that folder",
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder to write, such as checkpoints/NAME"
    )
    parser.add_argument(
        "--labels",
        type=lambda text: text.split(","),
        help="labels in the order of the classifier's outputs; default: as the checkpoint states, else the "
        "tutorial's order for a checkpoint of PyTorch Lightning",
    )
    parser.add_argument("--max-seq-length", type=int, default=64, help="as in training (default: 64)")
    parser.add_argument("--half", action="store_true", help="store weights in float16: half the size")
    parser.add_argument("--force", action="store_true", help="overwrite the files in --output")
    arguments = parser.parse_args()
    choice = choose_checkpoint(arguments.checkpoint)
    print(f"converting {choice.file} ({choice.reason})")
    output = convert_checkpoint(
        choice.file,
        arguments.pretrained,
        arguments.output,
        arguments.labels,
        arguments.max_seq_length,
        arguments.force,
        print,
        arguments.half,
    )
    print(f"wrote {output}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))

"""Converting a fine-tuned checkpoint into a Hugging Face folder that can be served."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors.torch import save_file

from handler.checkpoint import SECTION
from handler.errors import ConfigurationError, one_line
from scripts.model.fitting import check_length, fit, label_count
from scripts.model.labels import choose_labels
from scripts.model.pretrained import attend_in_full, local_folder, make_config, read_json
from scripts.model.served_tokenizer import serve_tokenizer
from scripts.model.tokenizer import load_tokenizer, tokenizer_folder
from scripts.model.weights import read_weights, sha256_of, weight_files


def convert_checkpoint(
    source: Path,
    pretrained: str | None,
    output: Path,
    labels: Sequence[str] | None = None,
    max_seq_length: int = 64,
    force: bool = False,
    report: Callable[[str], object] = lambda _: None,
    half: bool = False,
) -> Path:
    """Write the checkpoint at `source` as a Hugging Face folder.

    Args:
        source: a weights file, or an index of shards; beside it may lie the other files of a Hugging Face
            folder, whose config then counts.
        pretrained: folder or Hugging Face name of what was fine-tuned, for its config and tokenizer alone;
            None takes them from the folder of `source`.
        output: the folder to write; its name becomes the model's name.
        labels: in the order of the classifier's outputs; None takes those that `choose_labels` finds.
        max_seq_length: tokens of a pair that the model was trained with, special tokens included.
        force: overwrite files in `output`.
        report: is told what was decided and why.
        half: store weights in float16, half as large; computation is in float32 all the same.

    Raises:
        ConfigurationError: anything doesn't fit; nothing has been written then.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())) and not force:
        raise ConfigurationError(f"{output} exists already; --force overwrites it")
    stored = read_weights(source)
    beside = source.parent / "config.json"
    own = read_json(beside) if beside.is_file() else None
    folder = source.parent if pretrained is None else local_folder(pretrained)
    base = read_json(folder / "config.json") if own is None else own
    config = make_config(base, folder / "config.json" if own is None else beside)
    chosen = choose_labels(
        label_count(stored.tensors, config), labels, own, stored.surroundings, stored.lightning, base
    )
    report(f"labels: {', '.join(chosen.names)} ({chosen.origin})")
    config.id2label = dict(enumerate(chosen.names))
    config.label2id = {name: index for index, name in enumerate(chosen.names)}
    fitted = fit(stored.tensors, config, half)
    if fitted.ignored:
        report(
            f"not part of the model: {', '.join(fitted.ignored[:5])}{' …' if len(fitted.ignored) > 5 else ''}"
        )
    where = tokenizer_folder(source.parent, folder)
    tokenizer = load_tokenizer(where, config)
    served, lines = serve_tokenizer(tokenizer, config.to_dict().get("vocab_size") or 0, str(where))
    for line in lines:
        report(line)
    check_length(config, max_seq_length)
    attend_in_full(config, max_seq_length)
    section = {
        "name": output.resolve().name,
        "max_seq_length": max_seq_length,
        "labels_from": chosen.origin,
        "source": source.name,
        "source_sha256": sha256_of(*weight_files(source)),
    }
    if training_data := ((own or {}).get(SECTION) or {}).get("training_data"):
        section["training_data"] = training_data
    setattr(config, SECTION, section)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".converting-") as staging:
            config.save_pretrained(staging)
            tokenizer.save_pretrained(staging)
            served.save(str(Path(staging) / "tokenizer.json"))
            save_file(fitted.weights, Path(staging) / "model.safetensors", metadata={"format": "pt"})
            output.mkdir(exist_ok=True)
            for file in Path(staging).iterdir():
                file.chmod(0o644)
                file.replace(output / file.name)
    except Exception as error:  # safetensors and tokenizers have their own kinds for a full disk
        raise ConfigurationError(
            f"{output} can't be written, free space or name another --output: {one_line(error)}"
        ) from None
    return output

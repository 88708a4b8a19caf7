"""Packing a converted checkpoint and the handler into a model archive."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from model_archiver.model_archiver_config import ModelArchiverConfig
from model_archiver.model_packaging_utils import ModelExportUtils

from handler.checkpoint import CARD, Checkpoint, Precision
from handler.errors import ConfigurationError
from handler.request import SentencePair
from handler.settings import HandlerSettings
from scripts import CONFIG, PROJECT, VERSION
from scripts.model.gate import Gate
from scripts.model.precision import write_model
from scripts.model.weights import sha256_of
from scripts.pairs.local_model import LocalModel

MODEL_CONFIG = CONFIG / "model-config.yaml"

FINGERPRINT_DIGITS = 12
"""Of a fingerprint in an archive's name: enough that no two of a model store's archives meet by chance."""

CREATED_ON = "01/01/1980 00:00:00"
"""Creation time in every manifest: of the file's real one the bytes would depend."""

BATCH_SIZES = {"small": 32, "large": 100}
"""Requests that a worker takes at once where `model-config.yaml` states no `batchSize`. A large model's only
worker sees all that can wait (`job_queue_size`) and refuses what it can't answer in time. Several workers of
a small model share the queue, which one of them would else take whole."""

TORCHSERVE_KEYS = {"minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout"}
TORCHSERVE_KEYS |= {"startupTimeout", "maxRetryTimeoutInSec", "jobQueueSize", "deviceType", "deviceIds"}
"""The keys of TorchServe's own that `model-config.yaml` may hold; TorchServe ignores a misspelt one."""


def check_checkpoint(folder: Path) -> Checkpoint:
    """Load everything that a worker would load, and let it judge one pair.

    Raises:
        ConfigurationError: a file is missing, or the parts don't fit together.
    """
    checkpoint = Checkpoint.read(folder)
    model = LocalModel(checkpoint)
    tokens = model.encoder.vocabulary_size
    rows = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    if tokens > rows:
        raise ConfigurationError(f"{folder}: the tokenizer has {tokens} tokens, the model {rows}")
    model.probabilities([SentencePair("비가 온다.", "날씨가 맑다.")])
    return checkpoint


def check_model_config(file: Path) -> dict[str, Any]:
    """Read `model-config.yaml` and check it; TorchServe itself would only ignore what it doesn't know.

    Raises:
        ConfigurationError: it isn't YAML, or has an unknown key or a value out of range.
    """
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{file} can't be read: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise ConfigurationError(f"{file} holds no settings")
    unknown = sorted(map(str, set(config) - TORCHSERVE_KEYS - {"handler"}))
    if unknown:
        raise ConfigurationError(f"{file}: unknown key {', '.join(unknown)}")
    for key in TORCHSERVE_KEYS & set(config) - {"deviceType", "deviceIds"}:
        if type(config[key]) is not int or config[key] < 1:
            raise ConfigurationError(f"{file}: {key} must be a whole number from 1")
    HandlerSettings.from_model_config(config)
    return config


def build_archive(
    checkpoint: Path,
    version: str,
    output: Path,
    model_name: str = "nli",
    model_config: Path = MODEL_CONFIG,
    force: bool = False,
    precision: Precision = "fp32",
    gate: Gate | None = None,
    report: Callable[[str], object] = lambda _: None,
) -> Path:
    """Check the checkpoint and pack it with the handler.

    The manifest is torch-model-archiver's. The zip is written here, with sorted entries and fixed times, also
    in the manifest, so that the same input gives the same bytes.

    Raises:
        ConfigurationError: the checkpoint or the settings are unfit, or `output` exists and `force` is
            not set; no archive is left then.
    """
    if output.exists() and not force:
        raise ConfigurationError(f"{output} exists already; --force overwrites it")
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        raise ConfigurationError(f"version must be numbers and dots, such as 1.0, not {version!r}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", model_name):
        raise ConfigurationError(f"model name must be letters, digits, '_', '.' and '-', not {model_name!r}")
    stated = check_model_config(model_config)
    checked = check_checkpoint(checkpoint)
    settings = model_config.read_text(encoding="utf-8")
    if "batchSize" not in stated:
        settings += f"\nbatchSize: {BATCH_SIZES['small' if checked.small else 'large']}\n"
    described = ModelArchiverConfig(model_name, "service.py", version, config_file=MODEL_CONFIG.name)
    manifest = json.loads(ModelExportUtils.generate_manifest_json(described))
    manifest |= {"createdOn": CREATED_ON, "builtBy": VERSION}
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".archive-") as name:
        served = Path(name) / "served"
        served.mkdir()
        write_model(checked, precision, served, gate, report)
        content: dict[str, Path | str] = {file.name: file for file in served.iterdir()}
        content |= {f"handler/{name}": file for name, file in _files(PROJECT / "handler").items()}
        content["service.py"] = content.pop("handler/service.py")
        content[MODEL_CONFIG.name] = settings
        if (card := checkpoint / CARD).is_file():
            content[CARD] = card
        content["MAR-INF/MANIFEST.json"] = json.dumps(manifest, indent=2)
        packed = Path(name) / output.name
        _write_archive(content, packed)
        packed.replace(output)
    return output


def archive_of(
    checkpoint: Path,
    store: Path,
    report: Callable[[str], object] = lambda _: None,
    precision: Precision = "fp32",
) -> Path:
    """The archive of a checkpoint in a model store, built where there is none of exactly this content.

    The file's name ends with the first digits of `fingerprint`, so two checkpoints never share an archive,
    and a change of the checkpoint, the handler or the settings asks for another one, whatever the files'
    times say.

    Raises:
        ConfigurationError: the checkpoint is unfit to be served.
    """
    if not (checkpoint / "config.json").is_file():
        raise ConfigurationError(f"{checkpoint} is not a converted checkpoint: it has no config.json")
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", checkpoint.resolve().name)[:60]
    kind = "" if precision == "fp32" else f"-{precision}"
    archive = store / f"nli-{name}{kind}-{fingerprint(checkpoint)[:FINGERPRINT_DIGITS]}.mar"
    if not archive.exists():
        report(f"building {archive.name} from {checkpoint} ...")
        build_archive(checkpoint, "1.0", archive, force=True, precision=precision)
    return archive


def fingerprint(checkpoint: Path) -> str:
    """SHA-256 over the names and contents of all that an archive is made from, as 64 hexadecimal digits."""
    sources = {"model-config.yaml": MODEL_CONFIG}
    for role, folder in (("checkpoint", checkpoint), ("handler", PROJECT / "handler")):
        sources |= {f"{role}/{name}": file for name, file in _files(folder).items()}
    digest = hashlib.sha256(f"{VERSION}\n".encode())
    for name, file in sorted(sources.items()):
        digest.update(f"{name}\0{sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> dict[str, Path]:
    """The files of a folder by their path in it, but for what Python compiled."""
    files = (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(folder).as_posix(): file for file in files}


def _write_archive(content: dict[str, Path | str], output: Path) -> None:
    """Zip files and texts reproducibly; weights, which hardly compress, are stored as they are."""
    with zipfile.ZipFile(output, "w") as archive:
        for name, source in sorted(content.items()):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            weights = name.endswith((".safetensors", ".bin"))
            entry.compress_type = zipfile.ZIP_STORED if weights else zipfile.ZIP_DEFLATED
            if isinstance(source, str):
                archive.writestr(entry, source)
                continue
            with source.open("rb") as file, archive.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(file, target, 2**20)

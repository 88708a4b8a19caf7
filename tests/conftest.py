"""What many tests share: a tiny checkpoint, a real server with it, and the material beside the project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from scripts import PROJECT
from scripts.model.archive import build_archive
from scripts.model.conversion import convert_checkpoint
from scripts.torchserve.server import Ports, TorchServe
from tests.making import random_weights, write_lightning_checkpoint, write_model_config, write_pretrained

SHARED = PROJECT.parent / "shared"
PATIENCE = 600
"""Seconds of the deadline where a test counts answers: a pause of the machine is no overload."""

KINDS = ("unit", "service", "browser", "cluster")


def pytest_configure(config: pytest.Config) -> None:
    """Leave out long tests unless `-m` names them; have hypothesis try the same examples however slow."""
    asked = config.option.markexpr
    if "long" not in asked:
        config.option.markexpr = f"({asked}) and not long" if asked else "not long"
    slow = [HealthCheck.too_slow]
    settings.register_profile(
        "suite", deadline=None, derandomize=True, database=None, suppress_health_check=slow
    )
    settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the marker of the folder that it lies in."""
    for item in items:
        kind = item.path.relative_to(PROJECT / "tests").parts[0]
        assert kind in KINDS, f"{item.path} lies in none of the folders {', '.join(KINDS)}"
        item.add_marker(kind)


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like `beomi/kcbert-base`, without weights, of a tiny model."""
    return write_pretrained(tmp_path_factory.mktemp("pretrained"))


@pytest.fixture(scope="session")
def lightning_checkpoint(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Lightning checkpoint of that model, fine-tuned to random weights."""
    file = tmp_path_factory.mktemp("lightning") / "epoch=1-val_loss=0.50.ckpt"
    return write_lightning_checkpoint(file, random_weights(pretrained))


@pytest.fixture(scope="session")
def tiny_checkpoint(
    pretrained: Path, lightning_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """That checkpoint, converted."""
    return convert_checkpoint(
        lightning_checkpoint, str(pretrained), tmp_path_factory.mktemp("converted") / "tiny"
    )


@pytest.fixture(scope="session")
def tiny_archive(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That checkpoint as `nli` version 1.0."""
    return build_archive(tiny_checkpoint, "1.0", tmp_path_factory.mktemp("store") / "nli-1.0.mar")


@pytest.fixture(scope="session")
def patient_archive(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a deadline of `PATIENCE`."""
    store = tmp_path_factory.mktemp("store")
    config = write_model_config(store / "model-config.yaml", PATIENCE)
    return build_archive(tiny_checkpoint, "1.0", store / "nli-1.0.mar", model_config=config)


@pytest.fixture(scope="session")
def original() -> Path:
    """The original system's checkpoints and answers, which lie beside the project and not in it."""
    folder = SHARED / "original"
    if not folder.is_dir():
        pytest.skip("the original system's checkpoint and answers are not at hand (../shared/original)")
    return folder


@pytest.fixture(scope="session")
def cases() -> Path:
    """Small files that users brought, which lie beside the project and not in it."""
    folder = SHARED / "cases"
    if not folder.is_dir():
        pytest.skip("the users' files are not at hand (../shared/cases)")
    return folder


@pytest.fixture(scope="session")
def server(patient_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    """A ready server with the tiny model; tests that share it must leave it as it was."""
    with TorchServe(tmp_path_factory.mktemp("ts"), [patient_archive], Ports.free()) as running:
        yield running


@pytest.fixture(scope="session")
def url(server: TorchServe) -> str:
    """Where the tiny model is asked."""
    return f"{server.url}/predictions/nli"

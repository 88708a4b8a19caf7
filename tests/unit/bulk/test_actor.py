"""An actor takes the archive's handler and not the project's, and says which file a fault belongs to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from scripts.bulk import kinds
from scripts.bulk.actor import Classifier
from scripts.bulk.folder import Folder
from scripts.bulk.fragments import Job
from scripts.bulk.inputs import cut
from scripts.pairs.resumable_output import OutputError


def test_importing_the_actor_imports_no_module_of_the_handler() -> None:
    code = (
        "import sys, scripts.bulk.actor; print([name for name in sys.modules if name.startswith('handler.')])"
    )
    imported = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    assert imported == "[]\n"


class Refusing:
    """A model that has a fault for each pair."""

    def predict(self, pairs: list[object]) -> list[str]:
        return ["a fault"] * len(pairs)


def write_csv(folder: Path) -> None:
    (folder / "a.csv").write_text("premise,hypothesis\n해,비\n", encoding="utf-8")


def write_parquet(folder: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="scripts/setup bulk installs it")
    table = pa.table({"premise": ["해"], "hypothesis": ["비"]})
    pytest.importorskip("pyarrow.parquet").write_table(table, folder / "a.parquet")


@pytest.mark.parametrize("write", [write_csv, write_parquet])
@pytest.mark.parametrize("full", [False, True])
def test_a_fault_of_writing_does_not_name_the_input(
    write: Callable[[Path], None], full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write(source)
    if full:
        disk = partial(open, "/dev/full", "wb", buffering=0)
        monkeypatch.setattr("scripts.bulk.folder.tempfile.TemporaryFile", disk)
    else:
        output.touch()  # which is no folder
    folder = Folder(str(source))
    (name,) = folder.names()
    (fragment,) = cut([kinds.survey(folder, name, None, None)])
    actor = Classifier(Job(folder, Folder(str(output)), "premise", "hypothesis", ()))
    actor._model, actor._kinds = Refusing(), kinds
    with pytest.raises(OutputError, match=r"^(?!a\.).* can't be written: (Not a directory|No space)"):
        actor.classify(fragment)

"""The model of one process: the archive's own handler, loaded once, asked fragment by fragment.

Nothing here imports a module of `handler` before the archive's is on the path, and what is imported after
that, `scripts.pairs` included, uses the archive's too.
"""

from __future__ import annotations

import importlib
import io
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from scripts.bulk.fragments import Fragment, Job

THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)
"""Environment of an actor, which has one core. As no other process of Ray's has it, an actor never gets one
that has imported the project's own `handler` already."""


class Classifier:
    """Ray makes an actor of this class."""

    def __init__(self, job: Job) -> None:
        """Take the job; the model is loaded by `load`, whose errors are answers and not a lost actor."""
        self._job = job
        self._model: Any = None
        self._kinds: Any = None

    def load(self, archive: bytes) -> None:
        """Load the model through the archive's handler.

        Raises:
            ConfigurationError: it can't be loaded.
        """
        if any(name.startswith("handler.") for name in sys.modules):
            raise RuntimeError("this process has imported another handler")
        sys.modules.pop("handler", None)  # the package alone, which `scripts` imports, has no module of it
        with tempfile.TemporaryDirectory() as folder:
            zipfile.ZipFile(io.BytesIO(archive)).extractall(folder)
            sys.path.insert(0, folder)
            # Everything that is needed later is imported or mapped now, so the folder can go.
            self._model = importlib.import_module("scripts.bulk.model").ArchiveModel(Path(folder))
            self._kinds = importlib.import_module("scripts.bulk.kinds")
            sys.path.remove(folder)

    def classify(self, fragment: Fragment) -> Counter[str]:
        """Write the output of one fragment, and count what it holds; see `scripts.bulk.kinds.count`.

        Raises:
            DataError: the input can't be read or has changed.
            OutputError: the output can't be written.
        """
        kinds = self._kinds
        with (
            kinds.write_faults_named(fragment.part),
            self._job.output.write(fragment.part) as target,
            kinds.faults_named(fragment.source),
        ):
            counts: Counter[str] = kinds.kind_of(fragment.source).classify(
                fragment, self._job, self._model.predict, target
            )
        return counts

"""Changing what a running service serves, without losing a request.

TorchServe kills workers at once when a version is removed or scaled down, whatever they are doing, so a
version first has to be quiet (`scripts/torchserve/waiting.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from scripts.torchserve.acceptance import Gate, check_accuracy, check_answer, check_labels
from scripts.torchserve.archives import ArchiveName
from scripts.torchserve.management import Management, OperationError, Version
from scripts.torchserve.promotions import Promotion, Promotions
from scripts.torchserve.waiting import time_left, wait_until_quiet, wait_until_ready


class Operations:
    """The operator's commands on one model of one server. Each is safe to repeat and has a time limit."""

    def __init__(
        self,
        management: Management,
        inference_url: str,
        say: Callable[[str], None],
        memory: Path,
        seconds: float = 300,
    ) -> None:
        """Prepare the operations; nothing is sent yet.

        Args:
            management: the server and the model.
            inference_url: the address of that server's inference API.
            say: told each change as it is made, one line at a time.
            memory: the file that remembers what `promote` replaced, for `rollback`.
            seconds: the time limit of one operation.
        """
        self._management = management
        self._url = inference_url
        self._say = say
        self._promotions = Promotions(memory, management)
        self._seconds = seconds

    def register(self, archive: Path, workers: int | None = None) -> Version:
        """Add a version beside the others, and wait until all its workers answer.

        Unless told otherwise it gets at least as many workers as the default has. The archive must lie
        in the server's model store. If it can't be served it is removed again.

        Raises:
            OperationError: it can't be served, or its version is registered from another archive.
        """
        deadline = self._deadline()
        if archive.exists():  # else it may lie in a store that is not on this machine
            name = ArchiveName.of(archive)
            if name.model != self._management.model:
                raise OperationError(f"{archive} is an archive of {name.model}, not {self._management.model}")
        found = self._version_of(archive)
        if found is not None:
            self._say(f"{archive.name} is registered already, as version {found.version}; nothing changed")
            return found
        current = self._management.default()
        try:
            self._management.register(archive.name, workers or 1, time_left(deadline))
            new = self._version_of(archive)
            if new is None:
                raise OperationError(f"{archive.name} was registered, but is gone again")
            # `model-config.yaml` in the archive beats the number of workers in the call.
            wanted = workers or max(new.wanted, current.wanted if current else 0)
            if new.wanted != wanted:
                self._management.scale(new.version, wanted, time_left(deadline))
            wait_until_ready(self._management, new.version, time_left(deadline))
        except BaseException:
            self._remove(archive)
            raise
        new = self._management.version(new.version)
        self._say(f"registered {archive.name} as version {new.version} with {_workers(new.wanted)}")
        return new

    def promote(self, version: str) -> None:
        """Make a version the default, after it has shown that it answers.

        Raises:
            OperationError: it isn't ready, doesn't answer sensibly, or has other labels than the default.
        """
        if self._promote(version):
            self._say("to go back: python scripts/manage.py rollback")

    def rollback(self) -> None:
        """Make that version the default again which the last promotion replaced.

        Raises:
            OperationError: there is nothing to go back to.
        """
        current = self._management.default()
        last = self._promotions.last()
        if current is None or last is None:
            raise OperationError(
                "nothing to go back to: no promotion is remembered here; use promote VERSION"
            )
        previous, promoted = last.previous, last.promoted
        if current.version == previous:
            self._say(f"version {previous} is the default again already; nothing changed")
            return
        if current.version != promoted:
            raise OperationError(
                f"the default is {current.version} and not {promoted}, which was promoted from here; "
                "use promote VERSION"
            )
        wait_until_ready(self._management, previous, min(self._seconds, 30))
        self._management.set_default(previous)
        self._say(f"version {previous} is the default again instead of {promoted}")

    def retire(self, version: str) -> None:
        """Remove a version once nothing waits for it and none of its workers has anything to do.

        Raises:
            OperationError: it is the default, or still used when the time is over; it stays then.
        """
        found = [each for each in self._management.versions() if each.version == version]
        if not found:
            self._say(f"version {version} is not registered; nothing changed")
            return
        if found[0].is_default:
            raise OperationError(f"version {version} is the default; promote another one first")
        wait_until_quiet(self._management, version, self._seconds)
        self._management.remove(version)
        self._say(f"retired version {version}")

    def scale(self, version: str, workers: int) -> None:
        """Set a version's number of workers; fewer only where the version is quiet.

        Raises:
            OperationError: fewer for the default, to which requests come at any time; or the new workers
                don't start; or the version is still used when the time is over.
        """
        deadline = self._deadline()
        current = self._management.version(version)
        if workers == current.wanted:
            self._say(f"version {version} has {_workers(workers)} already; nothing changed")
            return
        if workers < current.wanted:
            if current.is_default:
                raise OperationError(
                    f"version {version} is the default: TorchServe would end what the surplus workers are "
                    "doing; promote another version first, or restart with --workers"
                )
            wait_until_quiet(self._management, version, time_left(deadline))
            self._management.scale(version, workers, time_left(deadline))
        else:
            try:
                self._management.scale(version, workers, time_left(deadline))
                wait_until_ready(self._management, version, time_left(deadline))
            except BaseException:
                # The surplus workers are the newest, which never came to work.
                self._management.scale(version, current.wanted, 30)
                raise
        self._say(f"scaled version {version} from {current.wanted} to {_workers(workers)}")

    def rollout(self, archive: Path, workers: int | None = None, gate: Gate | None = None) -> None:
        """Register, evaluate against the default, promote, retire what was the default before.

        Raises:
            ServiceError: one of these failed; then everything is as it was before.
        """
        was_there = self._version_of(archive) is not None
        current = self._management.default()
        new = self.register(archive, workers)
        try:
            if gate is not None and current is not None and new.version != current.version:
                check_accuracy(self._management, self._url, gate, new.version, current.version, self._say)
            self._promote(new.version)
        except BaseException:
            if not was_there:
                self._remove(archive)
                self._say(f"removed version {new.version} again")
            raise
        if current is not None and current.version != new.version:
            self.retire(current.version)

    def _promote(self, version: str) -> bool:
        """Promote; whether there is a version to go back to."""
        current = self._management.default()
        if self._management.version(version).is_default:
            self._say(f"version {version} is the default already; nothing changed")
            return False
        labels = wait_until_ready(self._management, version, min(self._seconds, 30))
        check_answer(self._management, self._url, version, labels)
        if current is not None:
            check_labels(self._management, labels, current, self._seconds)
        self._management.set_default(version)
        if current is None:
            self._say(f"version {version} is the default")
            return False
        self._promotions.remember(Promotion(current.version, version))
        self._say(f"version {version} is the default instead of {current.version}")
        return True

    def _version_of(self, archive: Path) -> Version | None:
        """The version that is registered from an archive of this name."""
        return next((each for each in self._management.versions() if each.archive == archive.name), None)

    def _remove(self, archive: Path) -> None:
        """Remove what an operation of ours added that failed; nobody but us knows of it."""
        added = self._version_of(archive)
        if added is not None and not added.is_default:
            self._management.remove(added.version)

    def _deadline(self) -> float:
        return time.monotonic() + self._seconds


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"

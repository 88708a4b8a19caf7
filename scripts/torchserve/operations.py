"""Changing what a running service serves, without losing a request.

TorchServe kills workers at once when a version is removed or scaled down, whatever they are doing, so a
version first has to be quiet (`scripts/torchserve/waiting.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from handler.errors import ServiceError
from scripts.pairs.labelled import class_numbers, read_labelled_pairs
from scripts.torchserve.acceptance import Gate, check_accuracy, check_answer
from scripts.torchserve.archives import ArchiveName
from scripts.torchserve.management import Management, OperationError, Version
from scripts.torchserve.promotions import Promotion, Promotions
from scripts.torchserve.waiting import time_left, wait_until_quiet, wait_until_ready

UNDO_SECONDS = 30
"""Time limit for undoing what an operation has done that failed later."""

UNPACK_SECONDS = 15
"""Time after which an archive that TorchServe was told to register has appeared, or won't."""


@dataclass(frozen=True, slots=True)
class Operations:
    """The operator's commands on one model of one server. Each is safe to repeat and has a time limit."""

    management: Management
    """The server and the model."""
    inference_url: str
    """The address of that server's inference API."""
    say: Callable[[str], None]
    """Told each change as it is made, one line at a time."""
    memory: Path
    """The file that remembers what `promote` replaced, for `rollback`."""
    seconds: float = 300
    """The time limit of one operation."""

    def register(self, archive: Path, workers: int | None = None) -> Version:
        """Add a version beside the others, and wait until all its workers answer.

        Unless told otherwise it gets at least as many workers as the default has. The archive must lie
        in the server's model store. If it can't be served it is removed again.

        Raises:
            OperationError: it can't be served, or its version is registered from another archive.
        """
        deadline = time.monotonic() + self.seconds
        if archive.exists():  # else it may lie in a store that is not on this machine
            name = ArchiveName.of(archive)
            if name.model != self.management.model:
                raise OperationError(f"{archive} is an archive of {name.model}, not {self.management.model}")
        found = self._version_of(archive)
        if found is not None:
            self.say(f"{archive.name} is registered already, as version {found.version}; nothing changed")
            return found
        current = self.management.default()
        with self._undoing(lambda error: self._unregister(archive, error)):
            self.management.register(archive.name, workers or 1, time_left(deadline))
            new = self._version_of(archive)
            if new is None:
                raise OperationError(f"{archive.name} was registered, but is gone again")
            # `model-config.yaml` in the archive overrides the number of workers in the call.
            wanted = workers or max(new.wanted, current.wanted if current else 0)
            if new.wanted != wanted:
                self.management.scale(new.version, wanted, time_left(deadline))
            wait_until_ready(self.management, new.version, time_left(deadline))
        new = self.management.version(new.version)
        self.say(f"registered {archive.name} as version {new.version} with {_workers(new.wanted)}")
        return new

    def promote(self, version: str) -> None:
        """Make a version the default, after it has shown that it answers.

        Raises:
            OperationError: it isn't ready, doesn't answer sensibly, or has other labels than the default.
        """
        if self._promote(version):
            self.say("to go back: python scripts/manage.py rollback")

    def rollback(self) -> None:
        """Make that version the default again which the last promotion replaced.

        Raises:
            OperationError: there is nothing to go back to.
        """
        current = self.management.default()
        last = self._promotions.last()
        if current is None or last is None:
            raise OperationError("nothing to go back to: no promotion is remembered; use promote VERSION")
        previous, promoted = last.previous, last.promoted
        if current.version == previous:
            self.say(f"version {previous} is the default again already; nothing changed")
            return
        if current.version != promoted:
            raise OperationError(
                f"the default is {current.version} and not {promoted}, which was promoted from here; "
                "use promote VERSION"
            )
        wait_until_ready(self.management, previous, min(self.seconds, 30))
        with self._undoing(lambda _: self._make_default(promoted)):
            self.management.set_default(previous)
        self.say(f"version {previous} is the default again instead of {promoted}")

    def retire(self, version: str) -> None:
        """Remove a version once nothing waits for it and none of its workers has anything to do.

        Raises:
            OperationError: it is the default, or still used when the time is over; it stays then.
        """
        found = [each for each in self.management.versions() if each.version == version]
        if not found:
            self.say(f"version {version} is not registered; nothing changed")
            return
        if found[0].is_default:
            raise OperationError(f"version {version} is the default; promote another one first")
        wait_until_quiet(self.management, version, self.seconds)
        self.management.remove(version)
        self.say(f"retired version {version}")

    def scale(self, version: str, workers: int) -> None:
        """Set a version's number of workers; fewer only where the version is quiet.

        Raises:
            OperationError: fewer for the default, to which requests come at any time; or the new workers
                don't start; or the version is still used when the time is over.
        """
        deadline = time.monotonic() + self.seconds
        current = self.management.version(version)
        if workers == current.wanted:
            self.say(f"version {version} has {_workers(workers)} already; nothing changed")
            return
        if workers < current.wanted:
            if current.is_default:
                raise OperationError(
                    f"version {version} is the default: TorchServe would end what the surplus workers are "
                    "doing; promote another version first, or restart with --workers"
                )
            wait_until_quiet(self.management, version, time_left(deadline))
            self.management.scale(version, workers, time_left(deadline))
        else:
            # The surplus workers are the newest, which have taken no request yet.
            with self._undoing(lambda _: self.management.scale(version, current.wanted, UNDO_SECONDS)):
                self.management.scale(version, workers, time_left(deadline))
                wait_until_ready(self.management, version, time_left(deadline))
        self.say(f"scaled version {version} from {current.wanted} to {_workers(workers)}")

    def rollout(self, archive: Path, workers: int | None = None, gate: Gate | None = None) -> None:
        """Register, evaluate against the default, promote, retire what was the default before.

        Until the version is promoted, a failure leaves everything as it was before. Once it is, it stays; a
        version that can't be retired, because it is still used, stays beside it, which is said and no error.

        Raises:
            ServiceError: the version couldn't be registered or promoted.
        """
        was_there = self._version_of(archive) is not None
        current = self.management.default()
        pairs = read_labelled_pairs(gate.file) if gate and current else []
        if pairs and current:
            class_numbers(pairs, self._labels(current.version))  # refuses a label that the default hasn't
        new = self.register(archive, workers)
        with self._undoing(lambda error: None if was_there else self._unregister(archive, error)):
            if gate is not None and current is not None and new.version != current.version:
                check_accuracy(
                    self.management, self.inference_url, gate, pairs, new.version, current.version, self.say
                )
            self._promote(new.version)
        if current is None or current.version == new.version:
            return
        try:
            self.retire(current.version)
        except BaseException as error:
            reason = str(error) if isinstance(error, ServiceError) else "interrupted"
            self.say(f"version {current.version} stays registered: {reason}")
            self.say(f"to remove it: python scripts/manage.py retire {current.version}")
            if not isinstance(error, ServiceError):
                raise

    @property
    def _promotions(self) -> Promotions:
        return Promotions(self.memory, self.management)

    def _labels(self, version: str) -> tuple[str, ...]:
        return self.management.ask_worker(version, self.seconds).labels

    def _promote(self, version: str) -> bool:
        """Promote a version; returns whether there is one to go back to."""
        current = self.management.default()
        if current is None or self.management.version(version).is_default:
            self.say(f"version {version} is the default already; nothing changed")
            return False
        labels = wait_until_ready(self.management, version, min(self.seconds, 30))
        check_answer(self.management, self.inference_url, version, labels)
        theirs = self._labels(current.version)
        if set(labels) != set(theirs):
            raise OperationError(
                f"the new version knows {', '.join(labels)}, but the default {', '.join(theirs)}"
            )
        last = self._promotions.last()
        with self._undoing(lambda _: self._promotions.remember(last)):
            # Remembered first: what can't be undone later isn't done.
            self._promotions.remember(Promotion(current.version, version))
            with self._undoing(lambda _: self._make_default(current.version)):
                self.management.set_default(version)
        self.say(f"version {version} is the default instead of {current.version}")
        return True

    @contextmanager
    def _undoing(self, undo: Callable[[BaseException], object]) -> Iterator[None]:
        """Call `undo` with the error if the body fails or is interrupted; what can't be undone is said."""
        try:
            yield
        except BaseException as error:
            try:
                undo(error)
            except ServiceError as fault:
                self.say(f"what was begun couldn't be undone: {fault}")
            raise

    def _make_default(self, version: str) -> None:
        """Make a version the default if it isn't: a call without an answer may have changed it."""
        default = self.management.default()
        if default is None or default.version != version:
            self.management.set_default(version)

    def _version_of(self, archive: Path) -> Version | None:
        """The version that is registered from an archive of this name."""
        return next((each for each in self.management.versions() if each.archive == archive.name), None)

    def _unregister(self, archive: Path, error: BaseException) -> None:
        """Remove the version that this operation has registered, once it is quiet."""
        answered = isinstance(error, OperationError) and error.status is not None
        # Without an answer TorchServe may still be unpacking the archive.
        deadline = time.monotonic() + (0 if answered else UNPACK_SECONDS)
        while (added := self._version_of(archive)) is None:
            if time.monotonic() > deadline:
                return
            time.sleep(0.2)
        if added.is_default and len(self.management.versions()) > 1:
            raise OperationError(f"version {added.version} is the default")
        wait_until_quiet(self.management, added.version, UNDO_SECONDS)
        self.management.remove(added.version)
        self.say(f"removed version {added.version} again")


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"

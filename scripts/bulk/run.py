"""A run over a whole input: what is done already, what actors do, and what is done again."""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from scripts.bulk import kinds
from scripts.bulk.actor import THREADS, Classifier
from scripts.bulk.archive import Archive
from scripts.bulk.cluster import ClusterError, LostError, call_on_all, connected, result
from scripts.bulk.folder import UNFINISHED, Folder
from scripts.bulk.fragments import Fragment, Job
from scripts.bulk.inputs import cut, refuse_mixture
from scripts.bulk.manifest import Manifest
from scripts.bulk.progress import SECONDS, Progress
from scripts.pairs.classification import Summary
from scripts.pairs.resumable_output import OutputError
from scripts.pairs.text_file import DataError


class Run:
    """One input, one archive and one output, on a connected cluster."""

    def __init__(
        self,
        ray: Any,
        archive: Archive,
        source: Folder,
        output: Folder,
        columns: tuple[str | None, str | None],
        report: Callable[[str], object],
    ) -> None:
        """Survey the input; nothing is written yet. `columns` names premise and hypothesis where it must.

        Raises:
            DataError: a file can't be read, or the files don't belong together.
        """
        if f"{output.root}/".startswith(f"{source.root}/"):
            raise OutputError("the output must not lie in the input")
        names = source.names()
        if not names:
            raise DataError(f"{source.url} holds no files")
        report(f"reading {len(names)} files of {source.url} ...")
        files = call_on_all(ray, kinds.survey, [(source, name, *columns) for name in names])
        filled = [file for file in files if file.rows]
        if not filled:
            raise DataError(f"{source.url} holds no rows")
        refuse_mixture(filled)
        self._ray, self._archive, self._output, self._report = ray, archive, output, report
        self._job = Job(source, output, filled[0].premise, filled[0].hypothesis, archive.labels)
        self.manifest = Manifest(archive, files, cut(files))
        self._rows = sum(fragment.rows for fragment in self.manifest.fragments)

    def classify(self, workers: int | None) -> Summary:
        """Do what earlier runs have left, with this many actors or one on every core.

        Raises:
            ServiceError: the run can't go on; the next one continues it.
        """
        self.manifest.begin(self._output)
        finished = self.manifest.finished(self._output)
        counts: Counter[str] = Counter()
        done = set()
        for fragment, found in zip(finished, self._check(finished), strict=True):
            if isinstance(found, str):
                self._report(f"{found}: done again")
            else:
                counts += found
                done.add(fragment)
        progress = Progress(self._rows, counts, self._report)
        waiting = [fragment for fragment in self.manifest.fragments if fragment not in done]
        if waiting:
            cores = int(self._ray.cluster_resources().get("CPU", 1))
            self._run(waiting, min(workers or cores, len(waiting)), progress)
        with contextlib.suppress(OSError):  # the same command, given twice, may be writing there
            self._output.remove(UNFINISHED)
        return self._summary(progress.counts, counts["rows"], progress.seconds)

    def check(self) -> Summary:
        """Hold a finished output against its input, row by row.

        Raises:
            OutputError: it isn't finished, isn't whole, or belongs to something else.
        """
        self.manifest.compare(self._output)
        finished = self.manifest.finished(self._output)
        wanted = len(self.manifest.fragments)
        if missing := wanted - len(finished):
            raise OutputError(f"{self._output.url} isn't finished: {missing} of {wanted} files are missing")
        counts: Counter[str] = Counter()
        progress = Progress(self._rows, counts, self._report)
        for found in self._check(finished):
            if isinstance(found, str):
                raise OutputError(found)
            counts += found
        return self._summary(counts, counts["rows"], progress.seconds)

    def _check(self, finished: Sequence[Fragment]) -> list[Counter[str] | str]:
        return call_on_all(self._ray, kinds.check, [(fragment, self._job) for fragment in finished])

    def _summary(self, counts: Counter[str], resumed: int, seconds: float) -> Summary:
        labels = {label: counts[f"label {label}"] for label in self._archive.labels}
        return Summary(counts["rows"], resumed, seconds, labels, counts["truncated"], counts["error"])

    def _run(self, fragments: Sequence[Fragment], workers: int, progress: Progress) -> None:
        """Hand fragments to actors until all are done.

        A lost actor is replaced, and its fragment goes to whichever is free: the replacement may find no core
        while its machine is away. Fragments are handed only to actors that have loaded the model.
        """
        ray = self._ray
        actor = ray.remote(Classifier).options(num_cpus=1, runtime_env={"env_vars": THREADS})
        archive = ray.put(self._archive.content)
        waiting = deque(fragments)
        taken: dict[Any, tuple[Any, Fragment | None]] = {}  # by running call; None where the model is loaded
        idle: list[Any] = []
        losses = 0

        def add() -> None:
            new = actor.remote(self._job)
            taken[new.load.remote(archive)] = new, None

        for _ in range(workers):
            add()
        while waiting or any(fragment for _, fragment in taken.values()):
            while waiting and idle:
                worker, next_one = idle.pop(), waiting.popleft()
                taken[worker.classify.remote(next_one)] = worker, next_one
            ended, _ = ray.wait(list(taken), num_returns=1, timeout=SECONDS)
            for reference in ended:
                worker, fragment = taken.pop(reference)
                try:
                    counts = result(ray, reference)
                except LostError as error:
                    losses += 1
                    if losses > 3 * workers + 3:
                        raise ClusterError(f"{error}, {losses} times without a finished fragment") from None
                    if fragment:
                        waiting.appendleft(fragment)
                    with contextlib.suppress(Exception):  # it may be unreachable, and still at work
                        ray.kill(worker)
                    add()
                    continue
                idle.append(worker)
                if fragment:
                    losses = 0
                    progress.add(counts)
            progress.tick(len(idle) + sum(fragment is not None for _, fragment in taken.values()))


def classify_many(
    archive_url: str,
    source: Folder,
    output: Folder,
    address: str | None,
    workers: int | None,
    columns: tuple[str | None, str | None] = (None, None),
    only_check: bool = False,
    report: Callable[[str], object] = lambda _: None,
) -> Summary:
    """Classify every row of `source` into `output`, continue a run that was stopped, or check a finished one.

    Raises:
        ServiceError: with what is wrong and where.
    """
    archive = Archive.read(archive_url)
    with connected(address) as ray:
        run = Run(ray, archive, source, output, columns, report)
        return run.check() if only_check else run.classify(workers)

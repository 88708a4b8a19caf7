"""Classifying a whole file: several requests in flight, rows in order, each fault kept to its row."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from handler.errors import (
    InferenceFailed,
    InternalError,
    InvalidPair,
    InvalidRequest,
    LimitExceeded,
    ServiceError,
)
from handler.request import SentencePair
from scripts.command_line.tables import text_table
from scripts.pairs.client import Client, ServiceRefusedError
from scripts.pairs.output_layout import OutputLayout, Prediction
from scripts.pairs.reader import PairFile, Row
from scripts.pairs.resumable_output import ResumableOutput

PAIRS = 32
"""Pairs in one request at most."""

CHARACTERS = 200_000
"""Characters in one request at most, unless one pair alone has more: a third of what TorchServe takes."""

RETRIES = 12
"""Times that a request is sent again: the service may be away for a minute, a restart or two."""

ROW_FAULTS = {
    each.type for each in (InvalidRequest, InvalidPair, LimitExceeded, InferenceFailed, InternalError)
}
"""Errors that belong to a pair; others, such as an unknown model or a wrong key, end the run."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run has done."""

    rows: int
    """In the output, those of earlier runs included."""
    resumed: int
    """Of them from earlier runs."""
    seconds: float
    """That this run took."""
    labels: dict[str, int]
    truncated: int
    errors: int

    def to_text(self) -> str:
        """A few lines for people."""
        done = self.rows - self.resumed
        rows = [
            (f"  {label}", str(count), f"{count / self.rows:.1%}") for label, count in self.labels.items()
        ]
        rows += [("  truncated", str(self.truncated), ""), ("  errors", str(self.errors), "")]
        return (
            f"{self.rows} rows, {done} of them in this run at {done / max(self.seconds, 1e-9):.1f}/s\n"
            + text_table(rows, "<>>")
        )


def classify_file(
    source: PairFile, output: Path, client: Client, concurrency: int = 4, force: bool = False
) -> Summary:
    """Classify every row of `source` into `output`, or go on with a run that was stopped.

    Args:
        source: the surveyed input.
        output: `.csv` (UTF-8 with a byte order mark, which Excel needs) or `.jsonl`; the input's columns, and
            behind them `prediction`, a probability for each label, `truncated`, `model` and `error`.
        client: should retry, so that a restart of the service doesn't end the run.
        concurrency: requests in flight.
        force: start over and replace `output`.

    Raises:
        ConfigurationError: `output` can't be written or belongs to something else.
        ServiceError: the service is away for longer than the client retries; run it again to go on.
    """
    # A first question shows the labels, and that the service is there, before anything is written.
    (first,) = client.classify([SentencePair("비가 온다.", "비가 온다.")], retries=2)
    layout = OutputLayout.of(output, source, tuple(first["probabilities"]))
    task = {
        "input": source.file.sha256,
        "columns": [source.found.premise, source.found.hypothesis],
        "labels": list(layout.labels),
    }
    began = time.monotonic()
    with ResumableOutput(output, task, layout.header(), force) as written:
        resumed = written.rows
        pool = ThreadPoolExecutor(concurrency)
        bar = tqdm(total=source.rows, initial=resumed, unit="pair", disable=None)
        waiting: deque[tuple[list[Row], Future[list[Prediction]]]] = deque()
        requests = _requests(source.read(resumed))
        try:
            while True:
                # Twice as many as are in flight, so that a slow one at the head lets none of the others idle.
                while len(waiting) < 2 * concurrency and (rows := next(requests, None)):
                    waiting.append((rows, pool.submit(_predictions, client, rows)))
                if not waiting:
                    break
                rows, future = waiting.popleft()
                predictions = future.result()
                written.append(layout.rows(rows, predictions), len(rows), _count(predictions))
                bar.update(len(rows))
            written.finish()
        except (ServiceError, KeyboardInterrupt):
            tqdm.write(f"stopped after {written.rows} of {source.rows} rows; the same command goes on there")
            raise
        finally:
            bar.close()
            pool.shutdown(cancel_futures=True)
    labels = {label: written.counts[f"label {label}"] for label in layout.labels}
    seconds = time.monotonic() - began
    counts = written.counts
    return Summary(written.rows, resumed, seconds, labels, counts["truncated"], counts["error"])


def _requests(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Cut rows into requests of a size that the service takes."""
    request: list[Row] = []
    characters = 0
    for row in rows:
        size = len(row.pair.premise) + len(row.pair.hypothesis) if isinstance(row.pair, SentencePair) else 0
        if request and (len(request) == PAIRS or characters + size > CHARACTERS):
            yield request
            request, characters = [], 0
        request.append(row)
        characters += size
    if request:
        yield request


def _predictions(client: Client, rows: Sequence[Row]) -> list[Prediction]:
    """A prediction for each row, in order; rows without a pair aren't asked about."""
    asked = iter(_ask(client, [row.pair for row in rows if isinstance(row.pair, SentencePair)]))
    return [next(asked) if isinstance(row.pair, SentencePair) else str(row.pair) for row in rows]


def _ask(client: Client, pairs: list[SentencePair]) -> list[Prediction]:
    """Ask about all pairs at once; where they are refused for one of them, halve until it stands alone."""
    if not pairs:
        return []
    try:
        return list(client.classify(pairs))
    except ServiceRefusedError as error:
        # 413 without a type comes from TorchServe or a gateway, which say no more.
        if error.kind not in ROW_FAULTS and error.status != 413:
            raise
        if len(pairs) == 1:
            return [error.message.removeprefix("[0].").removeprefix("[0]: ")]
    middle = len(pairs) // 2
    return _ask(client, pairs[:middle]) + _ask(client, pairs[middle:])


def _count(predictions: Sequence[Prediction]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for prediction in predictions:
        if isinstance(prediction, str):
            counts["error"] += 1
        else:
            counts[f"label {prediction['label']}"] += 1
            counts["truncated"] += bool(prediction["truncated"])
    return counts

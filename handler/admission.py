"""Which requests of a handler batch are computed when more comes in than the worker can answer in time.

Cost is tokens: a request takes its tokens divided by the throughput that was measured at warm-up. A request
waits for at most one batch and is answered by the next, so a batch takes a quarter of the deadline. What does
not fit is refused with 503, unread where possible, and costs next to nothing.

Half of a batch goes to the cheapest requests, so that clients of single pairs are answered beside clients who
send many. The other half is drawn by lot, a large request having the chance of as many small ones, so that no
size is refused for ever. After a batch that refused a request which needs more than that half, the whole of
the next one is drawn by lot and takes twice as long. What takes longer still is computed alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from time import perf_counter
from typing import TypeAlias

from handler.answer import Response
from handler.encoded_request import EncodedRequest
from handler.errors import LimitExceeded, Overloaded, RequestError

BATCH_SHARE = 0.25
"""Share of the deadline that a batch may take: half of the deadline is for waiting and computing, and half
remains for a machine that is slower for a while."""

GROUP_TOKENS = 1024
"""Tokens of the smallest group of requests that is computed at once; fewer fill model batches badly."""

OBSERVED_TOKENS = 256
"""Tokens of the smallest batch that corrects the throughput; smaller ones do not keep the worker busy."""

OBSERVED_SHARE = 0.2
"""Weight of the last batch in the throughput."""

DAY = 86_400.0

TOO_MUCH = "more comes in than this service can answer in time"

Item: TypeAlias = EncodedRequest | Response | RequestError
"""A request that was read: ready for the model, or answered already."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a request before it is read."""

    size: int
    """Number of bytes of its body."""
    waited: float = 0.0
    """Seconds since it arrived; 0 where that is unknown."""


def seconds_since(header: str | None, now: float) -> float:
    """Age of a request by its header `X-Request-Start`; 0 where the header has no credible time.

    >>> seconds_since("t=1700000000.250", 1700000002.25)
    2.0
    """
    try:
        age = now - float((header or "").strip().removeprefix("t="))
    except ValueError:
        return 0.0
    return age if 0 <= age <= DAY else 0.0


@dataclass(slots=True)
class Capacity:
    """What a worker can do in time."""

    tokens_per_second: float
    """Throughput of full model batches: measured at warm-up, then corrected by what batches take."""
    deadline: float
    """Seconds from the arrival of a request to its response."""
    longest: float
    """Seconds that a request may take which is computed alone, whatever the deadline."""
    chance: Random = field(default_factory=Random)
    _owed: bool = False
    """Whether the last batch refused a request that only a long batch has room for."""

    @property
    def batch_seconds(self) -> float:
        """Time that a batch may take."""
        return BATCH_SHARE * self.deadline

    @property
    def long_batch_seconds(self) -> float:
        """Time that a batch may take after one that refused a large request."""
        return 2 * self.batch_seconds

    @property
    def batch_tokens(self) -> int:
        """Number of tokens that a batch may have."""
        return int(self.batch_seconds * self.tokens_per_second)

    def observe(self, tokens: int, seconds: float) -> None:
        """Correct the throughput by what a batch took."""
        if tokens >= OBSERVED_TOKENS:
            pace = (1 - OBSERVED_SHARE) / self.tokens_per_second + OBSERVED_SHARE * seconds / tokens
            self.tokens_per_second = 1 / pace

    def admit(
        self,
        arrivals: Sequence[Arrival],
        read: Callable[[int], Item],
        clock: Callable[[], float] = perf_counter,
    ) -> list[Item]:
        """Read the requests of a batch that can be answered in time, and refuse the others.

        Args:
            arrivals: one for each request, in order of arrival.
            read: reads the request of an index in `arrivals`.
            clock: for tests.
        """
        owed = self._owed and len(arrivals) > 1
        batch = _Batch(self, clock, long=owed)
        items: dict[int, Item] = {}
        for index in self._in_turn(arrivals, lambda size: size):
            if batch.seconds < self.batch_seconds / 2 and not (owed and arrivals[index].size):
                items[index] = batch.take(index, arrivals[index], read)
        if len(items) < len(arrivals):
            # The chance of each to be drawn next is proportional to its size.
            for index in self._in_turn(arrivals, self.chance.expovariate):
                if index not in items:
                    items[index] = batch.take(index, arrivals[index], read)
        self._owed = batch.refused_large and not owed
        return [items[index] for index in range(len(arrivals))]

    def groups(
        self, requests: Sequence[EncodedRequest], clock: Callable[[], float] = perf_counter
    ) -> Iterator[list[EncodedRequest]]:
        """Groups of admitted requests to compute one after another, the cheapest first.

        They end where the worker turns out to be so slow that the next group would end after the time of a
        long batch; the requests that are left are to be refused (`refusal`).
        """
        began = clock()
        waiting = sorted(requests, key=lambda request: request.tokens, reverse=True)
        first = True
        while waiting:
            group = [waiting.pop()]
            tokens = group[0].tokens
            while waiting and tokens < GROUP_TOKENS and not (group[0].alone or waiting[-1].alone):
                group.append(waiting.pop())
                tokens += group[-1].tokens
            done = clock() - began + tokens / self.tokens_per_second
            if not first and done > self.long_batch_seconds:
                return
            first = False
            yield group

    def refusal(self, message: str) -> Overloaded:
        """The error of a request that can't be answered in time."""
        seconds = math.ceil(self.batch_seconds)
        return Overloaded(f"{message}; try again in {seconds} s", retry_after=seconds)

    def _in_turn(self, arrivals: Sequence[Arrival], place: Callable[[float], float]) -> list[int]:
        """Indices by what `place` makes of a size; last those that leave a batch less than half its time."""
        late = self.deadline - self.batch_seconds / 2
        keys = [(arrival.waited > late, place(max(1.0, arrival.size))) for arrival in arrivals]
        return sorted(range(len(arrivals)), key=keys.__getitem__)


class _Batch:
    """The requests of a batch that were admitted so far, and the time that they take."""

    def __init__(self, capacity: Capacity, clock: Callable[[], float], long: bool) -> None:
        self._capacity = capacity
        self._clock = clock
        self._long = long
        self._began = clock()
        # Time of the responses, counted from the beginning.
        self._end = capacity.long_batch_seconds if long else capacity.batch_seconds
        self._too_large = math.inf  # bytes of the smallest request that did not fit
        self.seconds = 0.0
        """Seconds of computing that were admitted."""
        self.refused_large = False
        """Whether a request was refused that needs more than half of a batch, and fits a long one."""

    def take(self, index: int, arrival: Arrival, read: Callable[[int], Item]) -> Item:
        """Read a request and admit it, or refuse it."""
        deadline = self._capacity.deadline
        if arrival.waited + self._elapsed() > deadline:
            return self._capacity.refusal(
                f"the request has waited longer than the {deadline:g} s of its deadline"
            )
        end = min(self._end, deadline - arrival.waited)
        if self.seconds and (arrival.size >= self._too_large or self._elapsed() + self.seconds >= end):
            return self._capacity.refusal(TOO_MUCH)
        item = read(index)
        if not isinstance(item, EncodedRequest):
            return item
        cost = item.tokens / self._capacity.tokens_per_second
        if cost > self._capacity.longest:
            return LimitExceeded(
                f"{len(item.whole)} pairs with {item.tokens} tokens would take {cost:.0f} s here; "
                f"{_fitting(item, cost, self._capacity.longest)} may be sent at once"
            )
        done = self._elapsed() + self.seconds + cost
        # The cheapest comes first, except to a long batch; where it takes too long, nothing shorter waits.
        in_time = arrival.waited <= self._capacity.batch_seconds or arrival.waited + done <= deadline
        alone = not self._long and not self.seconds and in_time
        if not alone and done > end:
            self._too_large = min(self._too_large, arrival.size)
            shortest, longest = self._capacity.batch_seconds / 2, self._capacity.long_batch_seconds
            self.refused_large |= shortest < cost <= longest
            message = TOO_MUCH
            if cost > longest:
                fitting = _fitting(item, cost, longest)
                message += f", and {len(item.whole)} pairs at once only without others; send {fitting}"
            return self._capacity.refusal(message)
        self.seconds += cost
        self._end = end
        return item

    def _elapsed(self) -> float:
        return self._clock() - self._began


def _fitting(item: EncodedRequest, cost: float, seconds: float) -> str:
    """How many of a request's pairs take `seconds`."""
    return f"at most {max(1, int(len(item.whole) * seconds / cost))}"

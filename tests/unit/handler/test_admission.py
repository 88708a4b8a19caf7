"""Admission: what is computed of a batch that is too much, in numbers that can be followed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from handler.admission import Arrival, Capacity, Item, seconds_since
from handler.encoded_request import EncodedRequest
from handler.encoding import EncodedPair
from handler.errors import InvalidRequest, LimitExceeded, Overloaded
from handler.request import Request, SentencePair, Shape

RATE, DEADLINE, LONGEST = 100.0, 20.0, 60.0
"""So a batch takes 5 s and 500 tokens, of which 250 go to the cheapest."""


class Clock:
    """A clock that stands still but for the seconds that each reading of a request takes."""

    def __init__(self, reading: float = 0.0) -> None:
        self.now = 1000.0
        self.reading = reading

    def __call__(self) -> float:
        return self.now


def encoded(tokens: int, pairs: int = 1) -> EncodedRequest:
    each = EncodedPair((0,) * (tokens // pairs), (0,) * (tokens // pairs), False)
    request = Request((SentencePair("가", "나"),) * pairs, Shape.LIST)
    return EncodedRequest(request, [each] * pairs)


class LargestFirst(Random):
    """Lots without chance."""

    def expovariate(self, lambd: float = 1.0) -> float:
        return 1 / lambd


def capacity() -> Capacity:
    return Capacity(RATE, DEADLINE, LONGEST, LargestFirst())


def admit(
    requests: Sequence[EncodedRequest | InvalidRequest],
    waited: Sequence[float] | None = None,
    clock: Clock | None = None,
    able: Capacity | None = None,
) -> tuple[list[Item], list[int]]:
    """What becomes of requests whose bodies have a byte for each token; and which were read, in order."""
    time = clock or Clock()
    read: list[int] = []

    def reader(index: int) -> Item:
        time.now += time.reading
        read.append(index)
        return requests[index]

    sizes = [each.tokens if isinstance(each, EncodedRequest) else 0 for each in requests]
    arrivals = [Arrival(*both) for both in zip(sizes, waited or [0.0] * len(sizes), strict=True)]
    return (able or capacity()).admit(arrivals, reader, time), read


def admitted(items: Sequence[Item]) -> list[int]:
    return [index for index, item in enumerate(items) if isinstance(item, EncodedRequest)]


def test_what_fits_is_admitted_as_it_came() -> None:
    items, _ = admit([encoded(300), encoded(20), encoded(180)])
    assert admitted(items) == [0, 1, 2]


def test_single_pairs_are_admitted_beside_large_requests() -> None:
    requests = [encoded(200), encoded(210), encoded(220), *[encoded(20)] * 13, encoded(190)]
    items, read = admit(requests)
    assert admitted(items) == [2, *range(3, 16)]
    assert read == [*range(3, 16), 2, 1, 0, 16]
    for refused in (items[0], items[1], items[16]):
        assert isinstance(refused, Overloaded)
        assert refused.status == 503
        assert refused.headers == (("Retry-After", "5"),)


def test_large_requests_are_not_starved_by_single_pairs() -> None:
    items, _ = admit([encoded(200), *[encoded(10)] * 100])
    assert admitted(items)[0] == 0
    assert len(admitted(items)) == 1 + 30


def test_a_large_request_has_the_chance_of_as_many_small_ones() -> None:
    able = Capacity(RATE, DEADLINE, LONGEST, Random(0))
    found = [admitted(admit([encoded(200), *[encoded(10)] * 100], able=able)[0])[0] == 0 for _ in range(300)]
    # Beside 75 small ones that are left, it fits if it is among the first 6 that are drawn.
    assert 0.65 < sum(found) / len(found) < 0.85


@pytest.mark.parametrize("tokens", [300, 800])
def test_what_needs_more_than_half_a_batch_is_drawn_from_the_whole_of_a_long_one(tokens: int) -> None:
    able = capacity()
    batch = [encoded(tokens), *[encoded(10)] * 100]
    counts = [admitted(admit(batch, able=able)[0]) for _ in range(4)]
    assert [0 in each for each in counts] == [False, True, False, True]
    assert [len(each) for each in counts] == [50, 1 + (1000 - tokens) // 10] * 2


def test_nothing_longer_than_a_batch_is_drawn_before_what_fits() -> None:
    able = capacity()
    admit([encoded(300), *[encoded(10)] * 100], able=able)
    items, _ = admit([encoded(1100), *[encoded(10)] * 10], able=able)
    assert admitted(items) == list(range(1, 11))
    admit([encoded(300), *[encoded(10)] * 100], able=able)
    items, _ = admit([encoded(1100)], able=able)
    assert admitted(items) == [0]


def test_a_request_that_does_not_fit_leaves_room_for_smaller_ones() -> None:
    items, read = admit([encoded(300), encoded(350), *[encoded(50)] * 5, encoded(240), encoded(360)])
    assert admitted(items) == [2, 3, 4, 5, 6, 7]
    assert read == [2, 3, 4, 5, 6, 8, 1, 0, 7]


def test_a_request_is_refused_unread_where_a_smaller_one_did_not_fit() -> None:
    items, read = admit([encoded(260), *[encoded(260)] * 9])
    assert admitted(items) == [0]
    assert read == [0, 1]


def test_what_needs_no_model_is_answered_however_full_the_batch_is() -> None:
    error = InvalidRequest("empty")
    items, _ = admit([encoded(400), encoded(400), error])
    assert items[2] is error
    assert admitted(items) == [0]


def test_a_large_request_is_computed_alone_where_the_machine_is_slow() -> None:
    items, _ = admit([encoded(4000, pairs=64)])
    assert admitted(items) == [0]
    items, _ = admit([encoded(4000, pairs=64), encoded(4100, pairs=64)])
    assert admitted(items) == [0]


def test_a_large_request_is_told_how_many_pairs_fit_beside_others() -> None:
    items, _ = admit([encoded(6000, pairs=60), encoded(20)])
    assert admitted(items) == [1]
    assert isinstance(items[0], Overloaded)
    assert "60 pairs at once only without others; send at most 10; try again in 5 s" in str(items[0])


def test_what_would_not_end_in_time_even_alone_is_refused_for_good() -> None:
    items, _ = admit([encoded(6400, pairs=64)])
    assert isinstance(items[0], LimitExceeded)
    assert str(items[0]) == "64 pairs with 6400 tokens would take 64 s here; at most 60 may be sent at once"


def test_what_nobody_waits_for_any_more_is_refused_unread() -> None:
    items, read = admit([encoded(10), encoded(10), encoded(10)], waited=[20.1, 19.7, 0])
    assert admitted(items) == [1, 2]
    assert read == [2, 1]
    assert "waited longer than the 20 s" in str(items[0])


def test_a_request_that_has_waited_long_is_computed_where_its_batch_ends_in_time() -> None:
    for waited, tokens, expected in ((16, 380, [0, 1]), (16, 400, [1]), (18, 180, [0, 1]), (18, 200, [0])):
        items, _ = admit([encoded(tokens), encoded(10)], waited=[0, waited])
        assert admitted(items) == expected
    assert admitted(admit([encoded(600)], waited=[13])[0]) == [0]
    assert admitted(admit([encoded(600)], waited=[15])[0]) == [], "nor may it be computed alone"


def test_reading_counts_too() -> None:
    items, read = admit([encoded(10)] * 10, clock=Clock(reading=2.0))
    assert admitted(items) == [0, 1]
    assert read == [0, 1, 2]


def test_requests_are_computed_in_groups_the_cheapest_first() -> None:
    able = Capacity(10_000, DEADLINE, LONGEST)
    requests = [encoded(tokens) for tokens in (4000, 600, 500, 900)]
    assert [[each.tokens for each in group] for group in able.groups(requests)] == [[500, 600], [900, 4000]]
    assert list(able.groups([])) == []


def test_a_worker_that_turns_out_to_be_slow_stops_in_time() -> None:
    able, clock = Capacity(1000, DEADLINE, LONGEST), Clock()
    seen = []
    for group in able.groups([encoded(1500)] * 8, clock):
        seen += group
        clock.now += 3.5
        able.observe(1500, 3.5)
    # A long batch takes 10 s: the third was begun after 7 s, when 1500 tokens should have taken 2.5 s.
    assert len(seen) == 3
    (alone,) = Capacity(1, DEADLINE, LONGEST).groups([encoded(4000)])
    assert len(alone) == 1


@pytest.mark.parametrize(
    ("header", "age"),
    [
        ("t=999990.5", 9.5),
        (" 999990.5 ", 9.5),
        ("t=1000000.5", 0),
        ("t=913599.0", 0),
        ("t=", 0),
        ("t=nan", 0),
        ("t=-inf", 0),
        ("t=999990.5, t=3", 0),
        ("yesterday", 0),
        ("", 0),
        (None, 0),
    ],
)
def test_the_age_of_a_request_is_what_its_header_credibly_says(header: str | None, age: float) -> None:
    assert seconds_since(header, 1_000_000.0) == age


def test_the_throughput_follows_what_full_batches_take() -> None:
    learnt = capacity()
    assert learnt.batch_tokens == 500
    learnt.observe(10, 1.0)
    assert learnt.tokens_per_second == RATE, "a small batch says nothing of it"
    learnt.observe(1000, 20.0)
    assert learnt.tokens_per_second == pytest.approx(1 / (0.8 / 100 + 0.2 / 50))
    for _ in range(50):
        learnt.observe(1000, 20.0)
    assert learnt.tokens_per_second == pytest.approx(50, rel=0.01)

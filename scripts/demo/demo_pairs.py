"""Sentence pairs that nobody wrote: everyday sentences from a small grammar, and edits of real sentences.

KLUE-NLI teaches the language of news and reviews. A visitor types short sentences such as "아이가 웃는다.",
and a model as small as this must have seen their like. Each edit that contradicts has a counterpart that
doesn't (a negated sentence also entails itself), or the edit alone would give the label away.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

ENTAILMENT, CONTRADICTION, NEUTRAL = range(3)

Pair = tuple[str, str, int]
T = TypeVar("T")

WORDS = tomllib.loads(Path(__file__).with_name("demo_words.toml").read_text(encoding="utf-8"))

PEOPLE: list[str] = WORDS["people"].split()
PERSONS = frozenset(WORDS["persons"].split())
PLACES: list[str] = WORDS["places"].split()
TIMES: list[str] = WORDS["times"].split()
MEMBERS: dict[str, list[str]] = {kind: words.split() for kind, words in WORDS["kinds"].items()}
NUMERALS: list[str] = WORDS["numerals"].split()
ADVERBS = frozenset(WORDS["adverbs"].split())
SYNONYMS: list[str] = WORDS["synonyms"].split()
ANTONYMS: list[str] = WORDS["antonyms"].split()
OPPOSITES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), replacement) for pattern, replacement in WORDS["opposites"]
]
COUNTERS = {"동물": "마리", "새": "마리", "차": "대", "꽃": "송이", "음료": "잔"}


def has_final(word: str) -> bool:
    """Whether the last syllable ends in a consonant, which decides the form of a particle."""
    return "가" <= word[-1] <= "힣" and (ord(word[-1]) - 0xAC00) % 28 != 0


def topic(word: str) -> str:
    """`word` as the topic of a sentence."""
    return word + ("은" if has_final(word) else "는")


def subject(word: str) -> str:
    """`word` as the subject of a sentence; the pronouns have their own forms."""
    special = {"나": "내가", "저": "제가"}
    return special.get(word, word + ("이" if has_final(word) else "가"))


def direct_object(word: str) -> str:
    """`word` as the object of a sentence."""
    return word + ("을" if has_final(word) else "를")


@dataclass(frozen=True, slots=True)
class Scene:
    """One everyday sentence before it is put into words."""

    who: str
    what: str
    where: str
    when: str
    amount: str
    verb: str
    particle: str  # of the place: 에 or 에서; empty where the verb takes an object
    tense: int  # 0 past, 1 present, 2 going on
    style: int  # 0 plain, 1 polite, 2 formal
    negated: int  # 0 no, 1 -지 않다, 2 안, 3 못
    as_topic: bool
    stop: str

    def __str__(self) -> str:
        past, present, polite, stem, going = self.verb.split()
        *before, stem_end = stem.split("_")
        lead = "".join(part + " " for part in before)
        if self.negated == 1 and self.tense == 0:
            verb = lead + stem_end + (" 않았다", " 않았어요", " 않았습니다")[self.style]
        elif self.negated == 1:
            verb = lead + stem_end + (" 않는다", " 않아요", " 않습니다")[self.style]
        else:
            word = {0: past, 1: polite if self.style == 1 else present, 2: going}[self.tense].split("_")[-1]
            if self.tense == 0:
                word += ("다", "어요", "습니다")[self.style]
            elif self.tense == 2:
                word += (" 있다", " 있어요", " 있습니다")[self.style]
            adverb = {2: "안 ", 3: "못 "}.get(self.negated, "")
            verb = lead + adverb + word
        parts = [topic(self.who) if self.as_topic else subject(self.who), self.when]
        if self.where:
            parts.append(self.where + (self.particle or "에서"))
        if self.what:
            parts.append(direct_object(self.what))
        parts += [self.amount, verb]
        return " ".join(part for part in parts if part).replace("_", " ") + self.stop


def make_scene(rng: random.Random) -> Scene:
    """Draw an everyday sentence."""
    tense, what, amount, kind = rng.choice((0, 0, 1, 2)), "", "", ""
    if rng.random() < 0.7:
        kinds, verb = rng.choice(WORDS["verbs"])
        kind, particle = rng.choice(kinds.split()), ""
        what = rng.choice(MEMBERS[kind])
        where = rng.choice(PLACES) if rng.random() < 0.3 else ""
        if rng.random() < 0.2 and kind not in ("운동", "외국어"):
            amount = counted(rng, COUNTERS.get(kind, "개"))
    else:
        particle, verb = rng.choice(WORDS["deeds"])
        where = rng.choice(PLACES)
    if tense == 2 and verb.endswith("-"):
        tense = 0
    when = rng.choice(TIMES) if rng.random() < 0.45 else ""
    if tense and when in WORDS["past_times"].split():
        when = "요즘"
    style = rng.choice((0, 0, 1, 2)) if tense != 1 else rng.choice((0, 0, 1))
    negated = rng.choice((1, 1, 2, 3)) if tense != 2 and rng.random() < 0.3 else 0
    if negated > 1 and not verb.split()[0].endswith(tuple(WORDS["short_verbs"].split())):
        negated = 1
    stop = rng.choice((".", ".", ""))
    return Scene(
        rng.choice(PEOPLE),
        what,
        where,
        when,
        amount,
        verb,
        particle,
        tense,
        style,
        negated,
        rng.random() < 0.7,
        stop,
    )


def counted(rng: random.Random, counter: str) -> str:
    """An amount such as 세 마리 or 12개."""
    return f"{rng.choice(NUMERALS)} {counter}" if rng.random() < 0.6 else f"{rng.randint(2, 99)}{counter}"


def kind_of(word: str) -> str:
    """The kind of thing that `word` is, such as 과일 for 사과; empty where none is known."""
    return next((kind for kind, words in MEMBERS.items() if word in words), "")


def other(rng: random.Random, values: Sequence[T], than: T) -> T:
    """Draw a value that differs from `than`."""
    while (value := rng.choice(values)) == than:
        pass
    return value


def scene_pair(rng: random.Random) -> Pair:
    """Two everyday sentences and what the first says about the second."""
    one = make_scene(rng)
    two = replace(one, stop=rng.choice((one.stop, ".")))
    kind = kind_of(one.what)
    roll = rng.random()
    if roll < 0.07:
        return str(one), str(two), ENTAILMENT
    if (roll < 0.26 and one.tense != 2) or roll < 0.2:
        if one.negated:
            return str(one), str(replace(two, negated=0)), CONTRADICTION
        flipped = replace(two, negated=1, tense=min(two.tense, 1), style=two.style)
        if rng.random() < 0.3 and one.tense != 2:
            flipped = replace(flipped, when="")
        return str(one), str(flipped), CONTRADICTION
    if roll < 0.42 and kind and not one.negated and kind != "물건":
        general = replace(two, what=kind)
        if rng.random() < 0.3:
            general = replace(general, when="")
        if rng.random() < 0.25:
            return str(general), str(one), NEUTRAL
        return str(one), str(general), ENTAILMENT
    if roll < 0.50 and one.amount:
        counter = re.sub(r"^\d+|^\S+ ", "", one.amount)
        while (amount := counted(rng, counter)) == one.amount:
            pass
        return str(one), str(replace(two, amount=amount)), CONTRADICTION
    if roll < 0.56 and (one.when or one.amount) and not one.negated:
        less = replace(two, when="", amount="")
        return (str(one), str(less), ENTAILMENT) if rng.random() < 0.6 else (str(less), str(one), NEUTRAL)
    if roll < 0.61 and one.who in PERSONS and not one.negated:
        return str(one), str(replace(two, who="사람", as_topic=False)), ENTAILMENT
    if roll < 0.66:
        return str(one), str(replace(two, style=0 if one.style else 2 if one.tense != 1 else 1)), ENTAILMENT
    if roll < 0.83:
        return str(one), str(replace(two, who=other(rng, PEOPLE, one.who))), NEUTRAL
    if roll < 0.87 and kind:
        return str(one), str(replace(two, what=other(rng, MEMBERS[kind], one.what), amount="")), NEUTRAL
    far = make_scene(rng)
    return str(one), str(replace(far, who=one.who) if rng.random() < 0.2 else far), NEUTRAL


def quality_pair(rng: random.Random) -> Pair:
    """Two sentences that say how something is."""
    things, word, opposite = rng.choice(WORDS["adjectives"])
    if rng.random() < 0.5:
        word, opposite = opposite, word
    thing = rng.choice(things.split()).replace("_", " ")
    form = rng.randrange(4)
    head = rng.choice(("이 ", "우리 ", "그 ", "", "", "")) if thing not in PEOPLE else ""
    degree = rng.choice(("정말 ", "아주 ", "조금 ", "", "", ""))
    noun = head + (topic(thing) if rng.random() < 0.7 else subject(thing))
    ends = (" 않다", " 않았다", " 않아요", " 않습니다")
    first = f"{noun} {degree}{word.split()[form]}"
    denied = f"{noun} {word.split()[4]}{ends[form]}"
    roll = rng.random()
    stop = rng.choice((".", ""))
    if roll < 0.12:
        pair = (first, first, ENTAILMENT)
    elif roll < 0.22:
        pair = (denied, denied, ENTAILMENT)
    elif roll < 0.30:
        pair = (first, f"{noun} {word.split()[rng.choice((0, 2, 3)) if form != 1 else 1]}", ENTAILMENT)
    elif roll < 0.45:
        pair = (first, denied, CONTRADICTION)
    elif roll < 0.55:
        pair = (denied, first, CONTRADICTION)
    elif roll < 0.70:
        pair = (first, f"{noun} {degree}{opposite.split()[form]}", CONTRADICTION)
    elif roll < 0.75:
        pair = (f"{noun} {opposite.split()[form]}", denied, ENTAILMENT)
    elif roll < 0.85:
        thing_too = other(rng, things.split(), thing).replace("_", " ")
        pair = (first, f"{topic(thing_too)} {degree}{word.split()[form]}", NEUTRAL)
    else:
        _, unlike, _ = other(rng, WORDS["adjectives"], None)
        pair = (
            (first, f"{noun} {unlike.split()[form]}", NEUTRAL)
            if unlike != word
            else (first, first, ENTAILMENT)
        )
    return pair[0] + stop, pair[1] + stop, pair[2]


def presence_pair(rng: random.Random) -> Pair:
    """Two sentences of what is where, how many there are, when something begins, or what the weather was."""
    there, gone = rng.choice(
        (("있다", "없다"), ("있어요", "없어요"), ("있습니다", "없습니다"), ("있었다", "없었다"))
    )
    place = rng.choice(PLACES)
    kind = rng.choice([k for k in MEMBERS if k not in ("운동", "외국어", "요일", "읽을거리")])
    what = rng.choice(MEMBERS[kind])
    shape = rng.random()
    if shape < 0.45:
        amount = rng.choice(("", "", f" {counted(rng, '개')}"))
        yes, no = f"{place}에 {subject(what)}{amount} {there}.", f"{place}에 {subject(what)} {gone}."
        wide, away = (
            f"{place}에 {subject(kind)} {there}.",
            f"{other(rng, PLACES, place)}에 {subject(what)} {there}.",
        )
        if kind == "물건":
            wide = yes
        return rng.choice(
            (
                (yes, no, CONTRADICTION),
                (no, yes, CONTRADICTION),
                (yes, wide, ENTAILMENT),
                (no, no, ENTAILMENT),
                (yes, away, NEUTRAL),
                (wide, yes, NEUTRAL if wide != yes else ENTAILMENT),
            )
        )
    if shape < 0.60:
        rain = rng.choice(["비", "눈"])
        day = rng.choice(["오늘", "어제", "아침에", "저녁에", "밤에", "주말에"])
        end, negative = rng.choice(
            (
                ("왔다.", "오지 않았다."),
                ("왔어요.", "오지 않았어요."),
                ("온다.", "오지 않는다."),
                ("옵니다.", "안 옵니다."),
            )
        )
        yes, no = f"{day} {subject(rain)} {end}", f"{day} {subject(rain)} {negative}"
        return rng.choice(
            (
                (yes, yes, ENTAILMENT),
                (no, no, ENTAILMENT),
                (yes, no, CONTRADICTION),
                (no, yes, CONTRADICTION),
                (yes, f"{subject(rain)} {end}", ENTAILMENT),
                (yes, f"{place}에 {subject(what)} {there}.", NEUTRAL),
            )
        )
    frame: str = rng.choice(WORDS["numbered"])
    low, high = (1950, 2024) if "년" in frame else (1, 12) if "시" in frame or "월" in frame else (2, 99)
    number = rng.randint(low, high)
    who = rng.choice(["누나", "형", "동생", "아빠", "엄마", "친구", "민수", "지수"])
    frame = frame.replace("{what}", what).replace("{place}", place).replace("{who}", who)
    same, changed = frame.format(number), frame.format(other(rng, range(low, high + 1), number))
    return (same, same, ENTAILMENT) if rng.random() < 0.4 else (same, changed, CONTRADICTION)


def negate(sentence: str) -> str:
    """Turn what a sentence says into its opposite by its last verb; empty where its form isn't known."""
    body, stop = (sentence[:-1], sentence[-1]) if sentence[-1:] in ".!?" else (sentence, "")
    for pattern, to in OPPOSITES:
        if pattern.search(body):
            return pattern.sub(to, body) + stop
    return ""


def change_number(rng: random.Random, sentence: str) -> str:
    """Another number in the place of one in `sentence`; empty where it has none."""
    spots = list(
        re.finditer(
            r"\d+|(?<![가-힣])(한|두|세|네|다섯|여섯|일곱|여덟|아홉) (?=[명개마시잔번살권대])", sentence
        )
    )
    if not spots:
        return ""
    spot = rng.choice(spots)
    if spot[0].isdigit():
        size = 10 ** (len(spot[0]) - 1)
        new = str(
            other(rng, range(max(1, int(spot[0]) - 5 * size), int(spot[0]) + 5 * size + 2), int(spot[0]))
        )
    else:
        new = other(rng, NUMERALS, spot[0].strip()) + " "
    return sentence[: spot.start()] + new + sentence[spot.end() :]


_WHOLE = r"(?=(지|고|다|던|네요|에|의|에서)(?![가-힣]))"
"""What must follow a word of one syllable; other forms of it would come out broken, or are other words."""


def swap_word(rng: random.Random, sentence: str, table: Sequence[str]) -> str:
    """Put the partner of one word of `table` in its place; empty where none begins a word of the sentence."""
    found = []
    for entry in table:
        pair = entry.split("=")
        for word, partner in (pair, pair[::-1]):
            spot = re.search(
                rf"(?<![가-힣]){word}"
                + ("(?=[은는이가을를의에도 .]|$)" if len(word) == 1 and len(partner) == 1 else ""),
                sentence,
            )
            if spot:
                found.append((spot, partner))
    if not found:
        return ""
    spot, partner = rng.choice(found)
    return sentence[: spot.start()] + partner + sentence[spot.end() :]


def drop_adverb(rng: random.Random, sentence: str) -> str:
    """`sentence` without one of its adverbs; empty where it has none."""
    words = sentence.split()
    spots = [index for index, word in enumerate(words[:-1]) if word in ADVERBS]
    if not spots or len(words) < 4:
        return ""
    words.pop(rng.choice(spots))
    return " ".join(words)


def edited_pairs(rng: random.Random, sentences: Sequence[str], count: int) -> list[Pair]:
    """Pairs of a real sentence and an edit of it, or of two unrelated real sentences."""
    pairs: list[Pair] = []
    while len(pairs) < count:
        sentence = rng.choice(sentences)
        flipped = negate(sentence)
        roll = rng.random()
        if roll < 0.07:
            pairs.append((sentence, sentence, ENTAILMENT))
        elif roll < 0.40 and flipped:
            if rng.random() < 0.35:
                pairs.append((flipped, flipped, ENTAILMENT))
            else:
                pairs.append(
                    (sentence, flipped, CONTRADICTION)
                    if rng.random() < 0.6
                    else (flipped, sentence, CONTRADICTION)
                )
        elif roll < 0.52 and (numbered := change_number(rng, sentence)):
            pairs.append((sentence, numbered, CONTRADICTION))
        elif roll < 0.62 and (swapped := swap_word(rng, sentence, ANTONYMS)):
            pairs.append(
                (sentence, swapped, CONTRADICTION) if rng.random() < 0.75 else (swapped, swapped, ENTAILMENT)
            )
        elif roll < 0.74 and (swapped := swap_word(rng, sentence, SYNONYMS)):
            pairs.append((sentence, swapped, ENTAILMENT))
        elif roll < 0.82 and (shorter := drop_adverb(rng, sentence)):
            pairs.append(
                (sentence, shorter, ENTAILMENT) if rng.random() < 0.6 else (shorter, sentence, NEUTRAL)
            )
        elif roll > 0.84:
            unrelated = rng.choice(sentences)
            if rng.random() < 0.3:
                unrelated = negate(unrelated) or unrelated
            pairs.append((sentence, unrelated, NEUTRAL))
    return pairs


def everyday_pairs(rng: random.Random, count: int) -> list[Pair]:
    """Pairs of short everyday sentences from the grammar."""
    makers = (scene_pair, scene_pair, scene_pair, quality_pair, presence_pair)
    return [rng.choice(makers)(rng) for _ in range(count)]

"""Exact substrings: a brute-force reader and a suffix array are the witnesses."""

import random

import numpy as np
import pytest
from pydivsufsort import divsufsort, kasai

from tasks.passages import keys
from tasks.passages.rules import Rule
from tasks.passages.units import run_keys, split
from tests.unit.passages.passage_fixtures import in_order, passages


def read_on(texts: dict[str, list[str]], num_words: int) -> dict[str, list[bool]]:
    """Which words go, for a reader who remembers where each run first stood."""
    first: dict[tuple[str, ...], tuple[str, int]] = {}
    goes = {name: [False] * len(words) for name, words in texts.items()}
    for name in in_order(list(texts)):
        words = texts[name]
        for at in range(len(words) - num_words + 1):
            where = first.setdefault(tuple(words[at : at + num_words]), (name, at))
            if where[0] != name or where[1] + num_words <= at:
                goes[name][at : at + num_words] = [True] * num_words
    return goes


def by_suffix_array(texts: dict[str, list[str]], num_words: int) -> dict[str, list[bool]]:
    """The same from a suffix array over numbers of words and its longest common prefixes."""
    numbers: dict[str, int] = {}
    order = in_order(list(texts))
    joined: list[int] = []
    begins = {}
    for at, name in enumerate(order):
        begins[name] = len(joined)
        joined += [numbers.setdefault(word, len(numbers)) for word in texts[name]]
        joined.append(1_000_000 + at)  # parts documents: it stands nowhere else
    line = np.array(joined, np.uint32)
    suffixes = divsufsort(line)
    is_near = kasai(line, suffixes)[:-1] >= num_words
    groups = np.cumsum(np.concatenate([[True], ~is_near]))
    first = np.full(groups[-1] + 1, len(line))
    np.minimum.at(first, groups, suffixes)
    of = np.searchsorted(list(begins.values()), np.arange(len(line)), "right")
    goes = np.zeros(len(line), bool)
    for start, earliest in zip(suffixes.tolist(), first[groups].tolist(), strict=True):
        if start != earliest and (of[start] != of[earliest] or earliest + num_words <= start):
            goes[start : start + num_words] = True
    return {name: goes[begins[name] : begins[name] + len(texts[name])].tolist() for name in order}


def left(words: list[str], goes: list[bool]) -> str:
    return " ".join(word for word, out in zip(words, goes, strict=True) if not out)


def worlds(num_worlds: int) -> dict[str, dict[str, list[str]]]:
    """Small corpora over two or three words, each a source of its own."""
    draw = random.Random(0)
    return {
        f"world {n}": {
            f"{n} {at}": draw.choices("abc"[: draw.choice([2, 3])], k=draw.randrange(40))
            for at in range(draw.randrange(1, 8))
        }
        for n in range(num_worlds)
    }


@pytest.mark.parametrize(
    ("num_words", "range_keys", "num_shards"),
    [(2, 1000, 1), (3, keys.RANGE_KEYS, 2), (5, 300, 3), (6, keys.RANGE_KEYS, 1), (8, 2000, 4)],
)
def test_what_goes_is_what_a_reader_has_seen_and_what_a_suffix_array_finds(
    num_words, range_keys, num_shards, monkeypatch, machine
):
    monkeypatch.setattr(keys, "RANGE_KEYS", range_keys)
    monkeypatch.setattr(keys, "PIECE_KEYS", range_keys)
    drawn = worlds(300)
    rows = [
        {"id": name, "source": world, "text": " ".join(words)}
        for world, texts in drawn.items()
        for name, words in texts.items()
    ]
    made = passages(
        machine,
        [rows[at::num_shards] for at in range(num_shards)],
        substrings={"on": True, "num_words": num_words, "scope": "source"},
    )
    for texts in drawn.values():
        goes = read_on(texts, num_words)
        assert by_suffix_array(texts, num_words) == goes
        for name, words in texts.items():
            expected = left(words, goes[name])
            assert made.texts.get(name, "") == expected
            assert (name in made.dropped) == (not expected and any(goes[name]))


@pytest.mark.parametrize("num_words", [1, 2, 3, 4, 5, 6, 7, 9, 16, 50, 63])
def test_different_runs_of_few_words_have_different_keys(num_words):
    draw = random.Random(num_words)
    letters = draw.choices("ab", k=100_000)
    halves = "ab"
    for _ in range(12):  # Thue-Morse: what polynomials modulo a power of 2 take for one
        halves += halves.translate(str.maketrans("ab", "ba"))
    rule = Rule(name="", unit="word", num_units=num_words, scope="corpus", keep="first")
    text = " ".join([*letters, *halves])
    units = split([text], rule)
    found, first = run_keys([text], units, rule, np.zeros(1, np.uint64))
    line = text.replace(" ", "")
    assert first.tolist() == list(range(len(line) - num_words + 1))
    runs = [line[at : at + num_words] for at in range(len(first))]
    pairs = set(zip(found.tolist(), runs, strict=True))
    assert len(np.unique(found)) == len(set(runs)) == len(pairs)


def passage(seed: int, num_words: int = 60) -> str:
    draw = random.Random(seed)
    return " ".join(f"{draw.choice('bcdfgh')}{draw.randrange(10_000)}." for _ in range(num_words))


def test_the_first_stays_whole_and_the_others_lose_what_they_repeat(machine):
    shared = passage(0)
    rows = [
        {"id": str(n), "text": f"{passage(n + 1)}\n\n{shared}\n\n  {passage(n + 100)}\n"}
        for n in range(6)
    ]
    made = passages(machine, [rows[:2], rows[2:]], substrings={"on": True})
    first = in_order([row["id"] for row in rows])[0]
    for n, row in enumerate(rows):
        whole = row["text"]
        cut = f"{passage(n + 1)}\n\n  {passage(n + 100)}\n"
        assert made.texts[row["id"]] == (whole if row["id"] == first else cut)
    assert made.manifest.metrics["substrings"] == {
        "passages": 5,
        "characters": 5 * len(shared),
        "documents": 5,
    }


def test_keeping_none_takes_the_first_too(machine):
    rows = [{"id": str(n), "text": f"{passage(n + 1)} {passage(0)}"} for n in range(3)]
    made = passages(machine, [rows], substrings={"on": True, "keep": "none"})
    assert made.texts == {str(n): passage(n + 1) for n in range(3)}


def test_fewer_words_in_common_and_other_blanks(machine):
    nearly = " ".join(passage(0).split()[:49])
    rows = [
        {"id": str(n), "text": f"{passage(n + 1)} {nearly} {passage(n + 100)}"} for n in range(3)
    ]
    made = passages(machine, [rows], substrings={"on": True})
    assert made.texts == {row["id"]: row["text"] for row in rows}
    wrapped = [
        {"id": "one", "text": passage(0)},
        {"id": "two", "text": passage(0).replace(" ", "\n") + "\nend"},
    ]
    made = passages(machine, [wrapped], substrings={"on": True})
    assert sum(len(text.split()) for text in made.texts.values()) in (60, 61)


def test_scripts_without_blanks_are_read_character_by_character(machine):
    draw = random.Random(0)
    han = "".join(chr(0x4E00 + draw.randrange(5000)) for _ in range(400))
    thai = "".join(draw.choice(["กิ", "ขั", "คุ", "งี", "จ"]) for _ in range(120))
    rows = [
        {"id": "a", "text": f"{han[:100]}。{han[100:160]}，{han[160:200]}"},
        {"id": "b", "text": f"{han[200:300]}。{han[100:160]}，{han[300:400]}"},
        {"id": "c", "text": f"{thai} one"},
        {"id": "d", "text": f"x {thai} two"},
    ]
    made = passages(machine, [rows], substrings={"on": True})
    first, second = in_order(["a", "b"])
    whole = {row["id"]: row["text"] for row in rows}
    assert made.texts[first] == whole[first]
    before, after = whole[second].split(f"。{han[100:160]}，")
    assert made.texts[second] == f"{before}\n{after}"
    kept = in_order(["c", "d"])[0]
    assert made.texts[kept] == whole[kept]
    assert {"c": "one", "d": "x two"}[in_order(["c", "d"])[1]] in made.texts.values()

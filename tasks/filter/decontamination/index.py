"""The n-grams of evaluation suites, to look documents' n-grams up in.

Items in, arrays out; the arrays are written to a folder once and read there by every worker, as
memory that they share. They take about 40 bytes for each word of the suites, and some times as much
while they are made.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.common.words import run_starts
from tasks.filter.decontamination.config import DecontaminationRules
from tasks.filter.decontamination.ngrams import Grams, TextWords, words_of
from tasks.filter.decontamination.suites import Suite

# So many bits for each n-gram tell, from its first words alone, that most others are not there.
TABLE_BITS_PER_GRAM, MIN_TABLE_BITS = 16, 20
ARRAYS = (
    *("grams", "table", "owner_starts", "owners", "positions"),
    *("text_words", "item_starts", "items", "suite_of"),
)
NAMES = ("lengths", "prefix_words", "suites", "item_names")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """Where in some documents n-grams of the index stand."""

    document: np.ndarray  # index
    start: np.ndarray  # the n-gram's first word, counted from the document's first one
    length: np.ndarray  # words
    gram: np.ndarray  # index


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """All n-grams of all suites. Texts that are the same in several items are one."""

    lengths: tuple[int, ...]  # of n-grams, in words
    prefix_words: int  # words with which every n-gram begins, the fewest that one has
    suites: tuple[str, ...]
    item_names: tuple[str, ...]
    grams: np.ndarray  # uint64, sorted
    table: np.ndarray  # uint8, a bit a value of the first bits of the number of such a beginning
    owner_starts: np.ndarray  # where in ``owners`` those of each n-gram begin
    owners: np.ndarray  # texts
    positions: np.ndarray  # where in its owner an n-gram first stands, in words
    text_words: np.ndarray  # how many words a text has
    item_starts: np.ndarray  # where in ``items`` those of each text begin
    items: np.ndarray  # items that have the text
    suite_of: np.ndarray  # the suite of each item

    def texts_with(self, gram: int) -> list[tuple[int, int]]:
        """(text, position in it) of an n-gram."""
        at = slice(int(self.owner_starts[gram]), int(self.owner_starts[gram + 1]))
        return list(zip(self.owners[at].tolist(), self.positions[at].tolist(), strict=True))

    def items_with(self, text: int) -> list[int]:
        """The items that have a text."""
        found: list[int] = self.items[self.item_starts[text] : self.item_starts[text + 1]].tolist()
        return found

    def look_up(self, words: TextWords) -> Hits:
        """Find every n-gram of the index in the given documents."""
        found: list[tuple[np.ndarray, np.ndarray, int]] = []
        grams_of = Grams(words)
        starts = grams_of.starts(self.prefix_words)
        may_be = starts[_is_set(self.table, grams_of.numbers(starts, self.prefix_words)) > 0]
        for length in self.lengths:
            lasts = np.minimum(may_be + length, len(words.text)) - 1
            fits = (may_be + length <= len(words.text)) & (words.text[lasts] == words.text[may_be])
            starts = may_be[fits]
            grams = grams_of.numbers(starts, length)
            places = np.searchsorted(self.grams, grams)
            is_same = self.grams[np.minimum(places, len(self.grams) - 1)] == grams
            found.append((starts[is_same], places[is_same], length))
        starts = np.concatenate([np.zeros(0, np.int64), *(f[0] for f in found)])
        lengths = [np.full(len(f[0]), f[2]) for f in found]
        first_words = np.searchsorted(words.text, words.text[starts])
        return Hits(
            document=words.text[starts],
            start=starts - first_words,
            length=np.concatenate([np.zeros(0, np.int64), *lengths]),
            gram=np.concatenate([np.zeros(0, np.int64), *(f[1] for f in found)]),
        )

    def save(self, folder: Path) -> None:
        """Write the arrays into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))
        names = {name: getattr(self, name) for name in NAMES}
        (folder / "names.json").write_text(json.dumps(names))

    @classmethod
    def load(cls, folder: Path) -> "Index":
        """Map what ``save`` wrote into memory, which all processes that do so share."""
        names = json.loads((folder / "names.json").read_text())
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
        return cls(
            lengths=tuple(names["lengths"]),
            prefix_words=names["prefix_words"],
            suites=tuple(names["suites"]),
            item_names=tuple(names["item_names"]),
            **arrays,
        )


def build_index(suites: Sequence[Suite], rules: DecontaminationRules) -> Index:
    """Index the n-grams of every text of every item; those in too many texts are left out."""
    text_ids: dict[str, int] = {}
    uses: list[tuple[int, int]] = []
    is_joined: list[bool] = []  # whether a text is nowhere a single field
    items = [item for suite in suites for item in suite.items]
    for number, item in enumerate(items):
        for text, joined in (*((t, False) for t in item.texts), (item.together, True)):
            if text:
                if text not in text_ids:
                    text_ids[text] = len(text_ids)
                    is_joined.append(True)
                is_joined[text_ids[text]] &= joined
                uses.append((text_ids[text], number))
    words = words_of(list(text_ids))
    text_words = np.bincount(words.text, minlength=len(text_ids))
    entries, lengths = _entries(words, text_words, np.array(is_joined, bool), rules)
    entries = _rare(_once(entries.sorted()), rules.max_items)
    firsts = run_starts(entries.grams)
    pairs = np.array(sorted(uses), np.int64).reshape(-1, 2)
    suite_of = [number for number, suite in enumerate(suites) for _ in suite.items]
    return Index(
        lengths=lengths,
        prefix_words=rules.min_words,
        suites=tuple(suite.name for suite in suites),
        item_names=tuple(item.name for item in items),
        grams=entries.grams[firsts],
        table=_table(entries.prefixes),
        owner_starts=np.append(firsts, len(entries.grams)),
        owners=entries.texts,
        positions=entries.positions,
        text_words=text_words,
        item_starts=np.searchsorted(pairs[:, 0], np.arange(len(text_ids) + 1)),
        items=pairs[:, 1],
        suite_of=np.array(suite_of, np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entries:
    """An n-gram's number, that of its first words, the text and the place in it; row by row."""

    grams: np.ndarray
    prefixes: np.ndarray
    texts: np.ndarray
    positions: np.ndarray
    is_joined: np.ndarray  # whether the text is several fields joined

    def sorted(self) -> "_Entries":
        """By n-gram, single fields first, then by text and position."""
        return self.at(np.lexsort((self.positions, self.texts, self.is_joined, self.grams)))

    def at(self, rows: np.ndarray) -> "_Entries":
        """Some of the rows, by index or as a mask."""
        return _Entries(
            grams=self.grams[rows],
            prefixes=self.prefixes[rows],
            texts=self.texts[rows],
            positions=self.positions[rows],
            is_joined=self.is_joined[rows],
        )


def _once(entries: _Entries) -> _Entries:
    """Each n-gram once a text, and of joined fields only what stands in no single one."""
    firsts = run_starts(entries.grams)
    sizes = np.diff(firsts, append=len(entries.grams))
    is_new = ~entries.is_joined | np.repeat(entries.is_joined[firsts], sizes)
    is_new[1:] &= (entries.grams[1:] != entries.grams[:-1]) | (
        entries.texts[1:] != entries.texts[:-1]
    )
    return entries.at(is_new)


def _rare(entries: _Entries, max_items: int) -> _Entries:
    """Without the n-grams of more texts than ``max_items``."""
    sizes = np.diff(run_starts(entries.grams), append=len(entries.grams))
    return entries.at(np.repeat(sizes <= max_items, sizes))


def _entries(
    words: TextWords, text_words: np.ndarray, is_joined: np.ndarray, rules: DecontaminationRules
) -> tuple[_Entries, tuple[int, ...]]:
    """All n-grams of all texts, and which lengths there are.

    A text of fewer words than an n-gram is one by itself, if it is not too short. Rows of numbers
    are in many documents by chance, so most words of an n-gram must have letters.
    """
    num_with_letters = np.cumsum(np.append(0, words.has_letter))
    first_words = np.cumsum(np.append(0, text_words))
    grams_of = Grams(words)
    parts, lengths = [], []
    for length in range(rules.min_words, rules.ngram_words + 1):
        starts = grams_of.starts(length)
        if length < rules.ngram_words:
            starts = starts[text_words[words.text[starts]] == length]
        is_worded = 2 * (num_with_letters[starts + length] - num_with_letters[starts]) > length
        starts = starts[is_worded]
        if len(starts):
            texts, grams = words.text[starts], grams_of.numbers(starts, length)
            prefixes = grams_of.numbers(starts, rules.min_words)
            parts.append((grams, prefixes, texts, starts - first_words[texts]))
            lengths.append(length)
    empty = tuple(np.zeros(0, kind) for kind in (np.uint64, np.uint64, np.int64, np.int64))
    grams, prefixes, texts, positions = map(np.concatenate, zip(empty, *parts, strict=True))
    return _Entries(
        grams=grams,
        prefixes=prefixes,
        texts=texts,
        positions=positions,
        is_joined=is_joined[texts],
    ), tuple(lengths)


def _table(prefixes: np.ndarray) -> np.ndarray:
    num_bits = max(MIN_TABLE_BITS, (len(prefixes) * TABLE_BITS_PER_GRAM - 1).bit_length())
    table = np.zeros(1 << (num_bits - 3), np.uint8)
    places = prefixes >> np.uint64(64 - num_bits)
    np.bitwise_or.at(table, places >> np.uint64(3), _bits(places))
    return table


def _is_set(table: np.ndarray, grams: np.ndarray) -> np.ndarray:
    num_bits = len(table).bit_length() - 1 + 3
    places = grams >> np.uint64(64 - num_bits)
    found: np.ndarray = table[places >> np.uint64(3)] & _bits(places)
    return found


def _bits(places: np.ndarray) -> np.ndarray:
    return np.left_shift(np.uint8(1), (places & np.uint64(7)).astype(np.uint8))

"""Which blocks of a page are main text, told from a text that somebody says is its main text.

Pure. In: the blocks' texts and the gold text. Out: a label from 0 to 1 for each block. Blocks of
five words or more are looked up by their runs of three words, and of the places found the chain is
taken that goes through page and gold text in the same order and holds most words: a teaser that
repeats the first paragraph elsewhere on the page is not main text. Shorter blocks count if the gold
text has them between the places of their neighbours in the chain.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

WORD = re.compile(r"\w+")
RUN_WORDS = 3
MIN_LOOKED_UP_WORDS = 5
MIN_SHARE = 0.3  # of a block's runs, to be looked at as a part of the gold text
SLACK_WORDS = 12  # by which places may be off: gold texts leave out a link here and there
REACH_WORDS = 60  # how far from the chain's ends short blocks are looked for
MAX_PLACES = 20  # of a run; what is more frequent tells nothing


class _Place(NamedTuple):
    block: int
    start: int  # in the gold text, in words
    num_runs: int
    share: float


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return WORD.findall(text.lower())


def block_labels(blocks: Sequence[str], gold: str) -> np.ndarray:
    """The share of each block that is in ``gold``; shape (blocks,), float64."""
    gold_words = words_of(gold)
    block_words = [words_of(block) for block in blocks]
    chain = _best_chain(_places(block_words, gold_words))
    labels = np.zeros(len(blocks))
    for place in chain:
        labels[place.block] = place.share
    for block, words in enumerate(block_words):
        if 0 < len(words) < MIN_LOOKED_UP_WORDS:
            start, end = _gap(block, chain, block_words, len(gold_words))
            labels[block] = float(_holds(gold_words[start:end], words))
    return labels


def _places(block_words: Sequence[list[str]], gold_words: list[str]) -> list[_Place]:
    where: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for start, run in enumerate(_runs(gold_words)):
        where[run].append(start)
    places = []
    for block, words in enumerate(block_words):
        if len(words) < MIN_LOOKED_UP_WORDS:
            continue
        runs = _runs(words)
        share = sum(run in where for run in runs) / len(runs)
        if share < MIN_SHARE:
            continue
        votes: Counter[int] = Counter()
        for offset, run in enumerate(runs):
            for start in where.get(run, ())[:MAX_PLACES]:
                votes[(start - offset) // 8] += 1
        places += [
            _Place(block, eighth * 8, num_runs, share) for eighth, num_runs in votes.most_common(3)
        ]
    return places


def _best_chain(places: Sequence[_Place]) -> list[_Place]:
    """The places in rising order of block and start that hold most runs together."""
    places = sorted(places)
    best: list[int] = []
    before: list[int] = []
    for at, place in enumerate(places):
        best.append(place.num_runs)
        before.append(-1)
        for earlier in range(at):
            known = places[earlier]
            fits = known.block < place.block and known.start <= place.start + SLACK_WORDS
            if fits and best[earlier] + place.num_runs > best[at]:
                best[at] = best[earlier] + place.num_runs
                before[at] = earlier
    chain: list[_Place] = []
    at = int(np.argmax(best)) if best else -1
    while at >= 0:
        chain.append(places[at])
        at = before[at]
    return chain[::-1]


def _gap(
    block: int, chain: Sequence[_Place], block_words: Sequence[list[str]], num_gold: int
) -> tuple[int, int]:
    """From where to where in the gold text a short block may stand."""
    above = [place for place in chain if place.block < block][-1:]
    below = [place for place in chain if place.block > block][:1]
    start, end = 0, num_gold
    if above:
        start = above[0].start + len(block_words[above[0].block]) - SLACK_WORDS
        end = start + SLACK_WORDS + REACH_WORDS
    if below:
        end = below[0].start + SLACK_WORDS
        start = start if above else below[0].start - REACH_WORDS
    return max(0, start), end


def _holds(words: list[str], part: list[str]) -> bool:
    return f" {' '.join(part)} " in f" {' '.join(words)} "


def _runs(words: list[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + RUN_WORDS]) for i in range(len(words) - RUN_WORDS + 1)]

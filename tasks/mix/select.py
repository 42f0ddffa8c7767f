"""Which document goes where, and how often it counts. Pure: an index of documents in, arrays out.

What is decided needs only a few numbers for each group, gathered from pieces of the index one after
another, so that memory does not grow with the corpus. Everything is decided by hashes of ids and by
documents' own properties: the order and number of input shards do not matter, and a document stays
on its side of the fence between training and validation when others come.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.common.mix_table import Phase, Step
from tasks.mix.config import ALL_GROUPS, MixConfig, QualityCutoff

CAP_REASON = "group_cap"
QUALITY_REASON = "quality_cutoff"
_RANK_BITS = 64
_BIN_BITS = 16
_NUM_BINS = 1 << _BIN_BITS  # of scores and of ranks: what a share or a cap is exact to
_NO_CUTOFF = QualityCutoff(group=ALL_GROUPS)

Index = Mapping[str, np.ndarray]
"""A piece of the index, a row a document: ``group`` str, ``num_bytes`` int64, ``order`` and
``validation`` uint64 (random ranks), ``quality`` float32 (NaN: no score), ``copies`` int32."""


def shuffle_rank(document_id: str, seed: int) -> int:
    """A document's place in the order of training: 64 random bits that its id and the seed fix."""
    return _hash64(f"{seed}:{document_id}")


def validation_rank(document_id: str) -> int:
    """64 random bits that only the id fixes; documents with the smallest are held out."""
    return _hash64(f"validation:{document_id}")


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


@dataclass
class Fence:
    """Who is held out of one group: about ``share``, at least one of two or more, never all."""

    share: float
    num_documents: int = 0
    num_held_out: int = 0
    least: int = 2**_RANK_BITS
    greatest: int = -1

    def add(self, ranks: np.ndarray) -> None:
        """Look at some more of the group's documents."""
        if len(ranks):
            self.num_documents += len(ranks)
            self.num_held_out += int(self._below(ranks).sum())
            self.least = min(self.least, int(ranks.min()))
            self.greatest = max(self.greatest, int(ranks.max()))

    def is_held_out(self, ranks: np.ndarray) -> np.ndarray:
        """For each document of the group, whether it is kept for validation."""
        held_out = self._below(ranks)
        if self.share > 0 and self.num_documents > 1 and not self.num_held_out:
            held_out |= ranks == self.least
        if self.num_held_out == self.num_documents:  # a group has a weight: it must train something
            held_out &= ranks != self.greatest
        return held_out

    def _below(self, ranks: np.ndarray) -> np.ndarray:
        return ranks.astype(np.float64) < self.share * 2.0**_RANK_BITS


@dataclass
class Choice:
    """All that decides about documents of each group; filled by ``choose``."""

    config: MixConfig
    least_bin: dict[str, int] = field(default_factory=dict)
    phase_least_bin: list[dict[str, int]] = field(default_factory=list)
    fences: dict[str, Fence] = field(default_factory=dict)
    first_bin_over_cap: dict[str, int] = field(default_factory=dict)

    def is_good_enough(self, group: str, quality: np.ndarray) -> np.ndarray:
        """Which documents pass their group's cut-off."""
        cutoff = cutoff_of(self.config, group)
        return _passes(quality, self.least_bin.get(group, 0), cutoff.min_score)

    def is_over_cap(self, group: str, order: np.ndarray) -> np.ndarray:
        """Which training documents are beyond what their group may have."""
        first = self.first_bin_over_cap.get(group)
        return np.zeros(len(order), bool) if first is None else _rank_bins(order) >= first

    def times(self, group: str, index: Index) -> np.ndarray:
        """(documents, phases): how often each document counts in each phase, 0 if not at all."""
        rehydrated = stepwise(self.config.rehydrate, index["copies"])
        columns = [rehydrated]
        for number, phase in enumerate(self.config.phases):
            chosen = self._is_in(number, phase, group, index)
            longer = stepwise(phase.length_steps, index["num_bytes"])
            columns.append(np.where(chosen, rehydrated * longer, 0.0))
        return np.stack(columns, axis=1)

    def _is_in(self, number: int, phase: Phase, group: str, index: Index) -> np.ndarray:
        if phase.groups and group not in phase.groups:
            return np.zeros(len(index["quality"]), bool)
        least = self.phase_least_bin[number].get(group, 0)
        good = _passes(index["quality"], least, phase.min_quality)
        return good & (index["num_bytes"] >= phase.min_bytes)


def choose(pieces: Callable[[], Iterable[Index]], config: MixConfig) -> Choice:
    """Learn from the whole index, piece by piece, what decides about each document.

    Raises:
        ValueError: documents are to be chosen by a score that they do not have.
    """
    choice = Choice(config)
    _choose_quality(pieces, choice)
    for group, index in _by_group(pieces()):
        good = choice.is_good_enough(group, index["quality"])
        fence = choice.fences.setdefault(group, Fence(config.validation_share))
        fence.add(index["validation"][good])
    if config.max_bytes_per_group is not None:
        _choose_caps(pieces, choice, config.max_bytes_per_group)
    return choice


def _choose_quality(pieces: Callable[[], Iterable[Index]], choice: Choice) -> None:
    """Turn shares into least scores, from a histogram of each group's scores."""
    config = choice.config
    choice.phase_least_bin = [{} for _ in config.phases]
    if not config.cutoffs and not any(phase.selects_quality for phase in config.phases):
        return
    histograms: dict[str, np.ndarray] = {}
    for group, index in _by_group(pieces()):
        counts = histograms.setdefault(group, np.zeros(_NUM_BINS + 1, np.int64))
        counts += np.bincount(_score_bins(index["quality"]), minlength=_NUM_BINS + 1)
    named = {cutoff.group for cutoff in config.cutoffs} - {ALL_GROUPS}
    if unknown := sorted(named - histograms.keys()):
        raise ValueError(f"cutoffs for {unknown}; there are documents of {sorted(histograms)}")
    for group, counts in histograms.items():
        cutoff = cutoff_of(config, group)
        if (_phases_by_quality(config, group) or cutoff.selects) and not counts[1:].any():
            raise ValueError(
                f"group {group!r} is to be chosen by quality, but none of its documents has a "
                "quality_score (only prose gets one, and only from a quality classifier): set "
                "classifiers.quality.reference_sources; or give this group a cut-off of its own "
                "without a score, and leave it out of the groups of phases that choose by quality"
            )
        choice.least_bin[group] = _least_bin(counts, cutoff.keep_share)
        counts = counts.copy()
        least_bin = choice.least_bin[group]
        if cutoff.min_score is not None:
            least_bin = max(
                least_bin, int(_score_bins(np.array([cutoff.min_score], np.float32))[0])
            )
        counts[:least_bin] = 0
        for number, phase in enumerate(config.phases):
            choice.phase_least_bin[number][group] = _least_bin(counts, phase.keep_share)


def _choose_caps(pieces: Callable[[], Iterable[Index]], choice: Choice, max_bytes: int) -> None:
    """Where in the order of training each group has had ``max_bytes``."""
    sizes: dict[str, np.ndarray] = {}
    for group, index in _by_group(pieces()):
        train = choice.is_good_enough(group, index["quality"])
        train &= ~choice.fences[group].is_held_out(index["validation"])
        bins, num_bytes = _rank_bins(index["order"][train]), index["num_bytes"][train]
        counts = sizes.setdefault(group, np.zeros(_NUM_BINS))
        counts += np.bincount(bins, weights=num_bytes, minlength=_NUM_BINS)
    for group, counts in sizes.items():
        over = np.cumsum(counts) > max_bytes
        if over.any():
            choice.first_bin_over_cap[group] = int(np.argmax(over))


def cutoff_of(config: MixConfig, group: str) -> QualityCutoff:
    """The cut-off of a group: its own, that of all, or one that everything passes."""
    by_group = {cutoff.group: cutoff for cutoff in config.cutoffs}
    return by_group.get(group, by_group.get(ALL_GROUPS, _NO_CUTOFF))


def stepwise(steps: Sequence[Step], sizes: np.ndarray) -> np.ndarray:
    """How often documents of these sizes count: the highest step reached, once below the first."""
    ordered = sorted(steps, key=lambda step: step.at_least)
    times = np.array([1.0, *(step.times for step in ordered)])
    return times[np.searchsorted([step.at_least for step in ordered], sizes, side="right")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What is to become of each document of a piece of the index.

    ``is_validation`` and ``reason`` (None: kept) a document; ``times`` (documents, phases).
    """

    is_validation: np.ndarray
    reasons: np.ndarray
    times: np.ndarray


def judge(choice: Choice, index: Index) -> Verdicts:
    """Apply what was chosen to a piece of the index."""
    size = len(index["group"])
    is_validation, reasons = np.zeros(size, bool), np.full(size, None, object)
    times = np.ones((size, 1 + len(choice.config.phases)))
    for group, rows in _rows_by_group(index):
        own = {name: column[rows] for name, column in index.items()}
        good = choice.is_good_enough(group, own["quality"])
        held_out = choice.fences[group].is_held_out(own["validation"]) & good
        over = choice.is_over_cap(group, own["order"]) & good & ~held_out
        is_validation[rows] = held_out
        reasons[rows[~good]] = QUALITY_REASON
        reasons[rows[over]] = CAP_REASON
        times[rows] = choice.times(group, own)
    return Verdicts(is_validation=is_validation, reasons=reasons, times=times)


def label(times: Sequence[float]) -> str:
    """A portion's short name: how often its documents count, phase by phase."""
    return "-".join(f"{number:g}" for number in times)


def bucket_of(order: np.ndarray, num_buckets: np.ndarray | int) -> np.ndarray:
    """Which of ``num_buckets`` equal ranges of ranks each one is in; at most 2**31 of them."""
    high = order >> np.uint64(32)
    return (high * np.asarray(num_buckets, np.uint64) >> np.uint64(32)).astype(np.int64)


def _phases_by_quality(config: MixConfig, group: str) -> list[Phase]:
    concerned = (p for p in config.phases if not p.groups or group in p.groups)
    return [phase for phase in concerned if phase.selects_quality]


def _passes(quality: np.ndarray, least_bin: int, min_score: float | None) -> np.ndarray:
    good = _score_bins(quality) >= least_bin
    return good & (quality >= min_score) if min_score is not None else good


def _score_bins(quality: np.ndarray) -> np.ndarray:
    """0 for no score, then up to ``_NUM_BINS`` for scores from 0 to 1."""
    scaled = np.nan_to_num(quality.astype(np.float64), nan=-1.0).clip(-1.0, 1.0) * (_NUM_BINS - 1)
    return np.where(scaled < 0, 0, np.floor(scaled) + 1).astype(np.int64)


def _least_bin(counts: np.ndarray, share: float) -> int:
    """The highest bin from which on at least ``share`` of all is counted."""
    if share >= 1:
        return 0
    tails = np.cumsum(counts[::-1])[::-1]
    return int(np.flatnonzero(tails >= math.ceil(share * tails[0]))[-1])


def _rank_bins(order: np.ndarray) -> np.ndarray:
    return (order >> np.uint64(_RANK_BITS - _BIN_BITS)).astype(np.int64)


def _by_group(pieces: Iterable[Index]) -> Iterator[tuple[str, dict[str, Any]]]:
    for index in pieces:
        for group, rows in _rows_by_group(index):
            yield group, {name: column[rows] for name, column in index.items()}


def _rows_by_group(index: Index) -> Iterator[tuple[str, np.ndarray]]:
    groups, codes = np.unique(index["group"], return_inverse=True)
    for code, group in enumerate(groups):
        yield str(group), np.flatnonzero(codes == code)

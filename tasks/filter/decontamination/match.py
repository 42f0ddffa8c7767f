"""What documents have in common with evaluation suites, and what becomes of them.

Pure: texts and an index in, texts out. A document's words are looked up many documents at a time;
only where something is found is a document looked at by itself.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import xxhash

from tasks.filter.decontamination.config import DecontaminationRules
from tasks.filter.decontamination.index import Hits, Index
from tasks.filter.decontamination.ngrams import word_spans, words_of

REASON = "contaminated"
TAG = "contaminated:"
PIECE_BREAK = "\n\n"
WORD_END = re.compile(r"\s")
MAX_WORD_CHARS = 40  # a cut moves so far to fall between words
MAX_SHOWN_CHARS = 300

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """An item of which something stands in a document."""

    item: int
    num_words: int  # of its text that stand there
    shown: str  # the beginning of what stands there


@dataclass(frozen=True, slots=True, kw_only=True)
class Decontaminated:
    """What was found in a document and what became of it."""

    text: str
    reason: str | None = None  # why it is dropped
    detail: str | None = None  # of which suites there is something in it
    tags: list[str] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)
    num_spans: int = 0
    done: str = ""  # "cut", "dropped" or "tagged"; empty where nothing was found


class Decontaminator:
    """Finds and deals with texts of suites as the rules say."""

    def __init__(
        self, rules: DecontaminationRules, index: Index, commonplace: np.ndarray | None = None
    ) -> None:
        """``commonplace`` says of every n-gram whether it is too common to mean anything."""
        self._rules = rules
        self._index = index
        self._commonplace = commonplace

    def decontaminate(self, texts: Sequence[str]) -> list[Decontaminated]:
        """Deal with each text; none depends on its neighbours."""
        results = [Decontaminated(text=text) for text in texts]
        for document, hits in _by_document(self._hits(texts)):
            results[document] = self._deal_with(texts[document], hits)
        return results

    def sightings(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(n-gram, hash of the text that it stands in), each pair once."""
        hits = self._hits(texts)
        documents, which = np.unique(hits.document, return_inverse=True)
        hashes = text_hashes([texts[at] for at in documents.tolist()])[which]
        pairs = np.unique(np.stack([hits.gram.astype(np.uint64), hashes]), axis=1)
        return pairs[0].astype(np.int64), pairs[1]

    def _hits(self, texts: Sequence[str]) -> Hits:
        hits = self._index.look_up(words_of(texts))
        if self._commonplace is None or not len(hits.gram):
            return hits
        stays = ~self._commonplace[hits.gram]
        return Hits(
            document=hits.document[stays],
            start=hits.start[stays],
            length=hits.length[stays],
            gram=hits.gram[stays],
        )

    def _deal_with(self, text: str, hits: Hits) -> Decontaminated:
        found = list(self._found(hits))
        if not found:
            return Decontaminated(text=text)
        words = word_spans(text)
        stretches = _merged((start, end) for _, _, spans in found for start, end in spans)
        spans = [(words[start][0], words[end - 1][1]) for start, end in stretches]
        overlaps = list(self._overlaps(text, words, found))
        edited, done = self._edit(text, spans)
        suites = dict.fromkeys(self._index.suites[self._index.suite_of[o.item]] for o in overlaps)
        return Decontaminated(
            text=text if edited is None else edited,
            reason=REASON if done == "dropped" else None,
            detail=", ".join(suites) if done == "dropped" else None,
            tags=[TAG + suite for suite in suites] if done == "tagged" else [],
            overlaps=overlaps,
            num_spans=len(spans),
            done=done,
        )

    def _found(self, hits: Hits) -> Iterator[tuple[int, int, list[Span]]]:
        """(text of a suite, its words found, stretches of the document's words)."""
        places: dict[int, list[tuple[int, int, int]]] = {}
        for start, length, gram in zip(
            hits.start.tolist(), hits.length.tolist(), hits.gram.tolist(), strict=True
        ):
            for text, position in self._index.texts_with(gram):
                places.setdefault(text, []).append((start, position, length))
        is_llama = self._rules.method == "llama"
        gap = self._rules.max_skipped_words if is_llama else 0
        for text, matches in sorted(places.items()):
            inside = _merged(((at, at + length) for _, at, length in matches), gap)
            num_words = sum(end - start for start, end in inside)
            if is_llama and num_words < self._rules.min_item_share * self._index.text_words[text]:
                continue
            yield text, num_words, _merged(((at, at + n) for at, _, n in matches), gap)

    def _overlaps(
        self, text: str, words: Sequence[Span], found: Sequence[tuple[int, int, list[Span]]]
    ) -> Iterator[Overlap]:
        """Of each item what most of stands in the text."""
        best: dict[int, tuple[int, Span]] = {}
        for of, num_words, spans in found:
            for item in self._index.items_with(of):
                if num_words > best.get(item, (0, (0, 0)))[0]:
                    best[item] = num_words, spans[0]
        for item, (num_words, (start, end)) in sorted(best.items()):
            shown = text[words[start][0] : words[end - 1][1]]
            yield Overlap(item=item, num_words=num_words, shown=shown[:MAX_SHOWN_CHARS])

    def _edit(self, text: str, spans: Sequence[Span]) -> tuple[str | None, str]:
        if self._rules.action == "tag":
            return None, "tagged"
        if self._rules.action == "document":
            return None, "dropped"
        pieces = cut(text, spans, self._rules.margin_chars)
        left = [piece for piece in pieces if len(piece) >= max(1, self._rules.min_piece_chars)]
        if not left or len(pieces) > self._rules.max_pieces:
            return None, "dropped"
        return PIECE_BREAK.join(left), "cut"


def text_hashes(texts: Sequence[str]) -> np.ndarray:
    """64 bits that tell texts apart."""
    return np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in texts], np.uint64)


def cut(text: str, spans: Sequence[Span], margin_chars: int) -> list[str]:
    """What is left of ``text`` without the spans and a margin around each, between words.

    Spans come in order. Pieces may be empty; there is one more than there are cuts.
    """
    cuts: list[Span] = []
    for start, end in spans:
        start, end = _word_start(text, start - margin_chars), _word_end(text, end + margin_chars)
        if cuts and start <= cuts[-1][1]:
            start = cuts.pop()[0]
        cuts.append((start, end))
    edges = [0, *(edge for each in cuts for edge in each), len(text)]
    return [text[a:b].strip() for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _word_start(text: str, position: int) -> int:
    """The beginning of the word at ``position``, if it is not far."""
    if position <= 0:
        return 0
    before = text[max(0, position - MAX_WORD_CHARS) : position]
    tail = before[::-1]
    blank = WORD_END.search(tail)
    return position - blank.start() if blank else position


def _word_end(text: str, position: int) -> int:
    if position >= len(text):
        return len(text)
    blank = WORD_END.search(text, position, position + MAX_WORD_CHARS)
    return blank.start() if blank else position


def _by_document(hits: Hits) -> Iterator[tuple[int, Hits]]:
    order = np.lexsort((hits.start, hits.document))
    documents = hits.document[order]
    edges = np.flatnonzero(np.diff(documents, prepend=-1, append=-1))
    for first, after in pairwise(edges.tolist()):
        at = order[first:after]
        yield (
            int(documents[first]),
            Hits(
                document=hits.document[at],
                start=hits.start[at],
                length=hits.length[at],
                gram=hits.gram[at],
            ),
        )


def _merged(spans: Collection[Span] | Iterator[Span], gap: int = 0) -> list[Span]:
    """Spans in order, those that touch or are at most ``gap`` apart as one."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1] + gap:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged

"""datatrove's filters, rule by rule; started by ``filters.py`` under datatrove's own Python.

In: a JSON file with texts, and for each what C4's line rules leave of it. Out: a JSON file with the
CPU seconds of its four filters run one after another as FineWeb does, and of its MinHash
signatures; what that chain says of each text; for each of our rules' names the verdict of the one
datatrove rule that it stands for; how it splits the texts into words, what C4 leaves of them too,
and lines into sentences.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.text import split_into_sentences, split_into_words

QUALITY_OFF: dict[str, Any] = {
    "min_doc_words": None,
    "max_doc_words": None,
    "min_avg_word_length": None,
    "max_avg_word_length": None,
    "max_symbol_word_ratio": None,
    "max_bullet_lines_ratio": None,
    "max_ellipsis_lines_ratio": None,
    "max_non_alpha_words_ratio": None,
    "min_stop_words": None,
}
# As when FineWeb was made; today's default counts no line that ends in a quotation mark.
FINEWEB_STOPS = (".", "'", '"', "!", "?")
REPETITION_OFF: dict[str, Any] = {
    "dup_line_frac": None,
    "dup_para_frac": None,
    "dup_line_char_frac": None,
    "dup_para_char_frac": None,
    "top_n_grams": (),
    "dup_n_grams": (),
}
FINEWEB_OFF: dict[str, Any] = {
    "line_punct_thr": -1.0,
    "short_line_thr": 2.0,
    "char_duplicates_ratio": 2.0,
    "new_line_ratio": 1e9,
}
C4_OFF: dict[str, Any] = {
    "filter_no_terminal_punct": False,
    "min_num_sentences": -1,
    "filter_lorem_ipsum": False,
    "filter_curly_bracket": False,
}
TOP = {2: 0.2, 3: 0.18, 4: 0.16}
DUPLICATE = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


def single_rules() -> dict[str, Any]:
    """A filter with one rule on for each name of ours."""
    quality = {
        "word_count": {"min_doc_words": 50, "max_doc_words": 100_000},
        "mean_word_length": {"min_avg_word_length": 3, "max_avg_word_length": 10},
        "symbols": {"max_symbol_word_ratio": 0.1},
        "bullet_lines": {"max_bullet_lines_ratio": 0.9},
        "ellipsis_lines": {"max_ellipsis_lines_ratio": 0.3},
        "alphabetic_words": {"max_non_alpha_words_ratio": 0.8},
        "stop_words": {"min_stop_words": 2},
    }
    repetition = {
        "duplicate_lines": {"dup_line_frac": 0.3},
        "duplicate_paragraphs": {"dup_para_frac": 0.3},
        "duplicate_line_chars": {"dup_line_char_frac": 0.2},
        "duplicate_paragraph_chars": {"dup_para_char_frac": 0.2},
        **{f"top_{n}gram": {"top_n_grams": ((n, share),)} for n, share in TOP.items()},
        **{f"duplicate_{n}gram": {"dup_n_grams": ((n, share),)} for n, share in DUPLICATE.items()},
    }
    fineweb = {
        "punctuated_lines": {"line_punct_thr": 0.12},
        "short_lines": {"short_line_thr": 0.67},
        "fineweb_duplicate_line_chars": {"char_duplicates_ratio": 0.01},
        "newline_ratio": {"new_line_ratio": 0.3},
    }
    c4 = {
        "lorem_ipsum": {"filter_lorem_ipsum": True},
        "curly_bracket": {"filter_curly_bracket": True},
        "sentences": {"min_num_sentences": 5},
    }
    return {
        **{k: GopherQualityFilter(**{**QUALITY_OFF, **v}) for k, v in quality.items()},
        **{k: GopherRepetitionFilter(**{**REPETITION_OFF, **v}) for k, v in repetition.items()},
        **{k: FineWebQualityFilter(**{**FINEWEB_OFF, **v}) for k, v in fineweb.items()},
        **{k: C4QualityFilter(**{**C4_OFF, **v}) for k, v in c4.items()},
    }


def main(texts: list[str], left: list[str], num_by_rule: int) -> dict[str, Any]:
    """Time the filters as they are used, then ask each rule alone."""
    chain = [
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(stop_chars=FINEWEB_STOPS),
    ]
    drop_reason(chain, texts[0])  # loads the word splitter
    started = time.process_time()
    reasons = [drop_reason(chain, text) for text in texts]
    filter_seconds = time.process_time() - started
    # Not getrusage: what it calls the peak includes that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak_bytes = int(status.partition("VmHWM:")[2].split()[0]) * 1024

    with tempfile.TemporaryDirectory() as folder:
        signer = MinhashDedupSignature(output_folder=folder)
        started = time.process_time()
        for text in texts:
            shingles = signer.get_shingles(text)
            if shingles.size:
                signer.get_signature(shingles)
        signature_seconds = time.process_time() - started
    rules = single_rules()
    breaks: dict[str, list[bool]] = {name: [] for name in rules}
    words: dict[str, list[str]] = {}
    for text in texts[:num_by_rule]:  # in turn: datatrove remembers the words of a few texts
        for name, rule in rules.items():
            breaks[name].append(_answer(rule, _document(text)) is not None)
    for text in [*texts, *left]:
        words[text] = words.get(text) or split_into_words(text)
    lines = {line for text in left for line in text.split("\n") if line}
    return {
        "filters": filter_seconds,
        "signatures": signature_seconds,
        "peak_bytes": peak_bytes,
        "reasons": reasons,
        "breaks": breaks,
        "words": words,
        "sentences": {line: len(split_into_sentences(line)) for line in sorted(lines)},
    }


def drop_reason(chain: list[Any], text: str) -> str | None:
    """Why the chain drops a text; the filters change the document that they pass on."""
    document = _document(text)
    return next(filter(None, (_answer(step, document) for step in chain)), None)


def _answer(step: Any, document: Document) -> str | None:
    """Why a filter drops a document; None if it lets it pass."""
    answer = step.filter(document)
    if isinstance(answer, tuple):
        return None if answer[0] else str(answer[1])
    return None if answer else "dropped"


def _document(text: str) -> Document:
    return Document(text=text, id="")


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps(main(**given)))

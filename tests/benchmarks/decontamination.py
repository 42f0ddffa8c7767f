"""Decontamination: what of real suites stands in real text, what finding it costs, and who agrees.

    python -m tests.benchmarks.decontamination --data PATH

``--data`` is a folder with ``eval`` (suites) and ``text``. The baseline is the same rule in plain
Python, a set of tuples of words, on a part of the texts; its answers must be ours.
"""

import argparse
import resource
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tasks.common.words import batches
from tasks.filter.config import FilterConfig
from tasks.filter.decontamination.config import DecontaminationRules
from tasks.filter.decontamination.index import Index, build_index
from tasks.filter.decontamination.match import Decontaminator
from tasks.filter.decontamination.suites import Suite, read_suites
from tasks.filter.rules import Candidate, judge
from tests.benchmarks.personal_data import ORDINARY, texts_of

TEXT_CHARS = 20_000_000
BASELINE_CHARS = 2_000_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m tests.benchmarks.decontamination")
    parser.add_argument("--data", type=Path, required=True, help="folder with eval and text")
    data = parser.parse_args().data
    rules = DecontaminationRules(suites=[str(data / "eval")])
    started = time.process_time()
    suites = read_suites(rules.suites, rules.fields)
    index = build_index(suites, rules)
    print(
        f"{len(suites)} suites, {len(index.item_names)} items, {len(index.grams)} n-grams, "
        f"indexed in {time.process_time() - started:.1f} s\n"
    )
    for name in ORDINARY:
        texts = list(texts_of(data / name, TEXT_CHARS))
        print(f"{Path(name).name}: {len(texts)} documents of {mean_chars(texts):.0f} characters")
        for method in ("gpt3", "llama"):
            ngram_words = 13 if method == "gpt3" else 10
            settings = {"method": method, "ngram_words": ngram_words}
            print(f"  {method:6}{found_line(texts, suites, rules.model_copy(update=settings))}")
    texts = list(texts_of(data / ORDINARY[3], BASELINE_CHARS))
    print(baseline_line(texts, suites, index, rules))
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def found_line(texts: list[str], suites: list[Suite], rules: DecontaminationRules) -> str:
    """What is found, and the cost of both readings beside that of the filter's other rules."""
    index = build_index(suites, rules)
    finder = Decontaminator(rules, index)
    started = time.process_time()
    pairs = [finder.sightings(texts[part])[0] for part in batches(texts)]
    first = time.process_time() - started
    counts = np.bincount(np.concatenate(pairs), minlength=len(index.grams))
    finder = Decontaminator(rules, index, counts > rules.max_documents)
    started = time.process_time()
    results = [result for part in batches(texts) for result in finder.decontaminate(texts[part])]
    second = time.process_time() - started
    started = time.process_time()
    judge([Candidate(text=text, kind="prose") for text in texts], FilterConfig(languages=[]))
    judged = time.process_time() - started
    names = Counter(
        index.suites[index.suite_of[o.item]] for result in results for o in result.overlaps
    )
    shown = ", ".join(f"{name.split('/')[-1]} {number}" for name, number in names.most_common(5))
    return (
        f"{first / len(texts) * 1e6:6.0f} + {second / len(texts) * 1e6:.0f} µs a document "
        f"(other rules {judged / len(texts) * 1e6:.0f}); "
        f"{sum(bool(r.overlaps) for r in results)} documents; {shown or 'nothing'}"
    )


def baseline_line(
    texts: list[str], suites: list[Suite], index: Index, rules: DecontaminationRules
) -> str:
    """The same in plain Python, by words of lower case between signs, with ratio and agreement."""
    wanted: dict[int, set[tuple[str, ...]]] = {}
    for suite in suites:
        for item in suite.items:
            for text in (*item.texts, item.together):
                words = plain_words(text)
                n = min(rules.ngram_words, len(words))
                if n >= rules.min_words:
                    wanted.setdefault(n, set()).update(grams(words, n))
    started = time.process_time()
    theirs = [
        any(gram in known for n, known in wanted.items() for gram in grams(words, n))
        for words in map(plain_words, texts)
    ]
    plain = time.process_time() - started
    finder = Decontaminator(rules, index)
    started = time.process_time()
    mine = [
        bool(result.overlaps)
        for part in batches(texts)
        for result in finder.decontaminate(texts[part])
    ]
    own = time.process_time() - started
    agree = sum(a == b for a, b in zip(mine, theirs, strict=True)) / len(texts)
    return (
        f"\nplain Python: {len(texts) / plain:.0f} documents/s/core; ours {len(texts) / own:.0f}, "
        f"{plain / own:.1f} x; {sum(theirs)} and {sum(mine)} documents found, agreed on {agree:.1%}"
    )


def plain_words(text: str) -> list[str]:
    """Stretches of letters and digits, in lower case."""
    return "".join(sign if sign.isalnum() else " " for sign in text.lower()).split()


def grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    """Every n words in a row."""
    return list(zip(*(words[at:] for at in range(n)), strict=False))


def mean_chars(texts: list[str]) -> float:
    """Characters a text."""
    return sum(map(len, texts)) / max(1, len(texts))


if __name__ == "__main__":
    main()

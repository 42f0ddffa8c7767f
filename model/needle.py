"""Needles in a haystack: does a model find a fact wherever it stands in a long text?

In: a model, running text as token ids, lengths and depths. Out: how often the model says the
number that a sentence in the text gives for a name, greedily, by length and depth. Beside the
sentence asked for stand others of its kind, so that the name has to be read (Hsieh et al. 2024,
arXiv:2404.06654, the multi-key variant).

``python -m model.needle FOLDER --text FILE`` asks an exported model.
"""

import argparse
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tokenizers import Tokenizer

from model import chat
from model.checkpoint import load_model
from model.devices import pick_device
from model.language_model import LanguageModel
from model.score import Request, loglikelihoods


@dataclass(frozen=True, slots=True)
class Facts:
    """Sentences that give a value for a name, and the question about one."""

    sentence: str
    question: str
    """The sentence up to the value; what it ends with is the answer."""
    values: Mapping[str, Sequence[str]]
    """By name, what it may be given."""

    def draw(self, rng: random.Random, num_facts: int) -> list[tuple[str, str]]:
        """Different names, each with one of its values."""
        names = rng.sample(sorted(self.values), num_facts)
        return [(name, rng.choice(self.values[name])) for name in names]


CITIES = (
    *("Athens", "Berlin", "Cairo", "Dublin", "Geneva", "Havana", "Jakarta", "Lisbon", "London"),
    *("Madrid", "Moscow", "Nairobi", "Oslo", "Paris", "Prague", "Quito", "Riga", "Rome", "Seoul"),
    *("Sydney", "Tokyo", "Tunis", "Vienna", "Warsaw"),
)
NUMBERS = Facts(
    sentence=" The secret number of {name} is {value}.",
    question=" The secret number of {name} is",
    values=dict.fromkeys(CITIES, tuple(map(str, range(1_000, 10_000)))),
)
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Cell:
    """How often the fact was found at one length and depth."""

    length: int
    """Tokens of the text, the question and its answer included."""
    depth: float
    """Where the fact stands: 0 at the beginning, 1 right before the question."""
    num_right: int
    num_asked: int

    @property
    def accuracy(self) -> float:
        """Share of the questions answered as the text says."""
        return self.num_right / self.num_asked


def find_needles(
    model: LanguageModel,
    tokenizer: Tokenizer,
    haystack: Sequence[int],
    lengths: Sequence[int],
    depths: Sequence[float],
    facts: Facts = NUMBERS,
    *,
    num_asked: int = 10,
    num_others: int = 3,
    seed: int = 0,
) -> list[Cell]:
    """Ask ``num_asked`` questions at every length and depth.

    Raises:
        ValueError: a length beyond the model's, too short for the facts, or a haystack shorter
            than it; a depth outside the text, or no questions.
    """
    if outside := [depth for depth in depths if not 0 <= depth <= 1]:
        raise ValueError(f"depths must be in [0, 1], from the beginning to the end; got {outside}")
    if num_asked < 1:
        raise ValueError(f"ask at least one question; got {num_asked}")
    if too_long := [n for n in lengths if n > model.config.max_seq_len + 1]:
        raise ValueError(
            f"needle lengths {too_long} are beyond the model's max_seq_len = "
            f"{model.config.max_seq_len}: ask for shorter ones, or lengthen its context"
        )
    cells = []
    for length in lengths:
        for depth in depths:
            rng = random.Random(f"{seed} {length} {depth}")
            asked = [
                needle_request(tokenizer, haystack, length, depth, facts, num_others, rng)
                for _ in range(num_asked)
            ]
            found = loglikelihoods(model, tokenizer, asked)
            num_right = sum(is_likeliest for *_, is_likeliest in found)
            cells.append(Cell(length, depth, num_right, num_asked))
    return cells


def needle_request(
    tokenizer: Tokenizer,
    haystack: Sequence[int],
    length: int,
    depth: float,
    facts: Facts,
    num_others: int,
    rng: random.Random,
) -> Request:
    """A document with facts in it that ends in a question, and the answer: ``length`` ids."""
    drawn = facts.draw(rng, 1 + num_others)
    name, value = drawn[0]
    question = chat.encode_text(tokenizer, facts.question.format(name=name))
    answer = chat.encode_text(tokenizer, f" {value}")
    sentences = [
        chat.encode_text(tokenizer, facts.sentence.format(name=name, value=value))
        for name, value in drawn
    ]
    room = length - 1 - len(question) - len(answer) - sum(map(len, sentences))
    if room < 0 or room > len(haystack):
        raise ValueError(
            f"a text of {length} tokens needs {length - room} for its facts and the rest from a "
            f"haystack of {len(haystack)}: ask for longer texts, or give a longer haystack"
        )
    start = rng.randrange(len(haystack) - room + 1)
    places = [round(depth * room), *sorted(rng.randint(0, room) for _ in range(num_others))]
    # At its depth the fact asked for is the outermost, so that 0 is the first and 1 the last.
    is_outer = -1 if depth < 0.5 else 1
    order = sorted(range(len(places)), key=lambda i: (places[i], is_outer if i == 0 else 0))
    ids, done = [chat.special_id(tokenizer, chat.BOS)], 0
    for index in order:
        ids += [*haystack[start + done : start + places[index]], *sentences[index]]
        done = places[index]
    return [*ids, *haystack[start + done : start + room], *question], answer


def as_plain(cells: Sequence[Cell]) -> list[dict[str, float]]:
    """For a file."""
    return [asdict(cell) | {"accuracy": cell.accuracy} for cell in cells]


def grid_lines(cells: Sequence[Cell]) -> list[str]:
    """A table: a row a depth, a column a length."""
    lengths = sorted({cell.length for cell in cells})
    lines = ["depth  " + "".join(f"{length:>9,}" for length in lengths)]
    for depth in sorted({cell.depth for cell in cells}):
        row = {cell.length: cell.accuracy for cell in cells if cell.depth == depth}
        lines.append(f"{depth:5.2f}  " + "".join(f"{row[length]:9.2f}" for length in lengths))
    return lines


def main() -> int:
    """Print the share of facts found, by depth and length."""
    parser = argparse.ArgumentParser(description="Ask a model for facts hidden in long texts.")
    parser.add_argument("checkpoint", help="folder with model.safetensors and tokenizer.json")
    parser.add_argument("--text", type=Path, required=True, help="plain text to hide them in")
    parser.add_argument("--lengths", type=int, nargs="+", help="tokens; default: up to its context")
    parser.add_argument("--depths", type=float, nargs="+", default=DEPTHS)
    parser.add_argument("--questions", type=int, default=10, help="at each length and depth")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", dest="as_json")
    try:
        print(_answer(parser.parse_args()))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _answer(args: argparse.Namespace) -> str:
    model, tokenizer = load_model(args.checkpoint, pick_device(args.device))
    longest = model.config.max_seq_len
    lengths = args.lengths or [max(1, longest // 4), max(1, longest // 2), longest]
    try:
        text = args.text.read_text("utf-8")
    except OSError as error:
        raise ValueError(f"cannot read the text {args.text}: {error.strerror}") from error
    haystack = chat.encode_text(tokenizer, " ".join(text.split()))
    cells = find_needles(model, tokenizer, haystack, lengths, args.depths, num_asked=args.questions)
    return json.dumps(as_plain(cells)) if args.as_json else "\n".join(grid_lines(cells))


if __name__ == "__main__":
    sys.exit(main())

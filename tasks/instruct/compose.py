"""From facts to conversations and questions. Pure and seeded.

A fact is either taught or held out, decided by a hash of its answer. What is taught gives away
neither a name nor an answer that is held out.
"""

import hashlib
import random
from collections.abc import Iterable, Sequence

from tasks.common.records import Record
from tasks.instruct.config import InstructConfig
from tasks.instruct.docstrings import Fact

QUESTIONS = (
    "What does `{name}` do?",
    "What is `{name}` for?",
    "Explain `{name}`.",
)


def usable_facts(facts: Iterable[Fact], config: InstructConfig) -> list[Fact]:
    """Facts with a brief answer of the wanted length, one a distinct answer, in a hashed order."""
    by_answer: dict[str, Fact] = {}
    for fact in facts:
        if config.min_answer_chars <= len(fact.brief) <= config.max_answer_chars:
            by_answer.setdefault(fact.brief, fact)
    return sorted(by_answer.values(), key=lambda fact: _hash(config.seed, fact.brief))


def split_facts(facts: Sequence[Fact], config: InstructConfig) -> tuple[list[Fact], list[Fact]]:
    """(taught, held out).

    Raises:
        ValueError: too few facts to hold ``num_eval`` out and still teach twice as many.
    """
    if len(facts) < 3 * config.num_eval:
        raise ValueError(
            f"the corpus states {len(facts)} facts; with instruct.num_eval={config.num_eval} at "
            f"least {3 * config.num_eval} are needed: lower num_eval, or add documented source code"
        )
    held_out = list(facts[: config.num_eval])
    return _unrevealing(facts[config.num_eval :], held_out), held_out


def conversations(taught: Sequence[Fact], config: InstructConfig) -> list[Record]:
    """SFT records: what people write, brief here and rambling there."""
    rng = random.Random(config.seed)
    records = []
    for fact in taught:
        answer = fact.brief
        if _can_ramble(fact, config) and rng.random() < 0.5:
            answer = fact.long
        question = rng.choice(QUESTIONS).format(name=fact.name)
        messages = [_user(question), {"role": "assistant", "content": answer}]
        records.append({"id": fact.name, "messages": messages})
    return records


def open_questions(facts: Sequence[Fact]) -> list[Record]:
    """Questions to answer freely, with the documentation's own brief answer as reference."""
    return [
        {"id": f.name, "prompt": [_user(QUESTIONS[0].format(name=f.name))], "reference": f.brief}
        for f in facts
    ]


def multiple_choice(held_out: Sequence[Fact], config: InstructConfig) -> list[Record]:
    """Questions with one right answer among other things' answers, its place drawn by lot."""
    rng = random.Random(config.seed + 2)
    records = []
    for fact in held_out:
        others = rng.sample([f.brief for f in held_out if f is not fact], config.num_choices - 1)
        answer = rng.randrange(config.num_choices)
        choices = [*others[:answer], fact.brief, *others[answer:]]
        question = QUESTIONS[0].format(name=fact.name)
        records.append(
            {"id": fact.name, "question": question, "choices": choices, "answer": answer}
        )
    return records


def _unrevealing(facts: Iterable[Fact], held_out: Sequence[Fact]) -> list[Fact]:
    """The facts that say nothing held out: no such name, and no such answer in any spelling."""
    names = {fact.name for fact in held_out}
    # An answer of signs alone has no letters, and nothing is in every text.
    secrets = sorted({_letters(fact.brief) for fact in held_out} - {""})
    return [fact for fact in facts if fact.name not in names and not _tells(fact, secrets)]


def _tells(fact: Fact, secrets: Sequence[str]) -> bool:
    said = f"{_letters(fact.brief)}\n{_letters(fact.long)}"
    return any(secret in said for secret in secrets)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _can_ramble(fact: Fact, config: InstructConfig) -> bool:
    return len(fact.brief) < len(fact.long) <= config.max_long_answer_chars


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def _hash(seed: int, text: str) -> str:
    return hashlib.blake2b(f"{seed}\n{text}".encode(), digest_size=16).hexdigest()

"""Mutations of bytes, each with the stretch of the original that it touched.

All chance is the given generator's.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutated:
    """Bytes after a mutation; of the original, ``start`` to ``end`` are not there any more.

    After an insertion both are where it was made.
    """

    data: bytes
    start: int
    end: int
    name: str

    def spares(self, start: int, end: int) -> bool:
        """Whether a stretch of the original is there as it was."""
        return end <= self.start or start >= self.end


def _stretch(data: bytes, rng: random.Random) -> tuple[int, int]:
    """A place and a length, short ones more often."""
    size = min(len(data), 1 << rng.randrange(14))
    start = rng.randrange(len(data) - size + 1)
    return start, start + size


def flip_bit(data: bytes, rng: random.Random) -> Mutated:
    at = rng.randrange(len(data))
    changed = bytearray(data)
    changed[at] ^= 1 << rng.randrange(8)
    return Mutated(bytes(changed), at, at + 1, "flip_bit")


def delete(data: bytes, rng: random.Random) -> Mutated:
    start, end = _stretch(data, rng)
    return Mutated(data[:start] + data[end:], start, end, "delete")


def insert_noise(data: bytes, rng: random.Random) -> Mutated:
    at = rng.randrange(len(data) + 1)
    noise = rng.randbytes(1 << rng.randrange(12))
    return Mutated(data[:at] + noise + data[at:], at, at, "insert_noise")


def overwrite(data: bytes, rng: random.Random) -> Mutated:
    start, end = _stretch(data, rng)
    noise = rng.choice([bytes(end - start), b"\n" * (end - start), rng.randbytes(end - start)])
    return Mutated(data[:start] + noise + data[end:], start, end, "overwrite")


def duplicate(data: bytes, rng: random.Random) -> Mutated:
    start, end = _stretch(data, rng)
    at = rng.randrange(len(data) + 1)
    return Mutated(data[:at] + data[start:end] + data[at:], at, at, "duplicate")


def splice(data: bytes, rng: random.Random) -> Mutated:
    start, end = _stretch(data, rng)
    other_start, other_end = _stretch(data, rng)
    changed = data[:start] + data[other_start:other_end] + data[end:]
    return Mutated(changed, start, end, "splice")


def cut(data: bytes, rng: random.Random) -> Mutated:
    at = rng.randrange(len(data))
    return Mutated(data[:at], at, len(data), "cut")


MUTATIONS: tuple[Callable[[bytes, random.Random], Mutated], ...] = (
    flip_bit,
    delete,
    insert_noise,
    overwrite,
    duplicate,
    splice,
    cut,
)


def mutate(data: bytes, rng: random.Random) -> Mutated:
    """One of the mutations above."""
    return rng.choice(MUTATIONS)(data, rng)

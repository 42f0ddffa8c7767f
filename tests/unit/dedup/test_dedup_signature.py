"""Signatures: datasketch is the witness, and the true Jaccard similarity the judge."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import zstandard
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dedup.signature import Signer, exact_key, shingle_hashes

WORDS = [f"word{n}" for n in range(400)]
TEXT = " ".join(WORDS)


@pytest.mark.parametrize("num_words", [5, 6, 400])
def test_a_signature_is_the_one_datasketch_makes(num_words: int):
    shingles = shingle_hashes(" ".join(WORDS[:num_words]), 5)
    reference = MinHash(num_perm=112, seed=1, scheme="affine32", hashfunc=int)
    reference.update_batch(shingles.tolist())
    np.testing.assert_array_equal(Signer(112, 1).sign(shingles), reference.hashvalues)


def test_blocks_do_not_change_a_signature():
    shingles = shingle_hashes(" ".join(map(str, range(10_000))), 5)
    whole = Signer(16, 1).sign(shingles)
    halves = np.minimum(Signer(16, 1).sign(shingles[:5000]), Signer(16, 1).sign(shingles[5000:]))
    np.testing.assert_array_equal(whole, halves)


@pytest.mark.parametrize("shared", [0, 100, 200, 300, 360, 400])
def test_agreement_estimates_jaccard(shared: int):
    other = " ".join(WORDS[:shared] + [f"new{n}" for n in range(400 - shared)])
    mine, theirs = (set(shingle_hashes(text, 5).tolist()) for text in (TEXT, other))
    true = len(mine & theirs) / len(mine | theirs)
    signer = Signer(1024, 3)
    agreement = signer.sign(shingle_hashes(TEXT, 5)) == signer.sign(shingle_hashes(other, 5))
    four_sigma = 4 * np.sqrt(true * (1 - true) / 1024) + 1e-9
    assert abs(agreement.mean() - true) <= four_sigma


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["red", "green", "blue"]), max_size=30), st.integers(1, 6))
def test_equal_shingles_have_equal_hashes_and_others_have_not(words: list[str], n: int):
    grams = {tuple(words[at : at + n]) for at in range(len(words) - n + 1)}
    assert len(shingle_hashes(" ".join(words), n)) == len(grams)


def test_case_and_blanks_do_not_make_a_text_new():
    assert exact_key("A  b\n\nC") == exact_key("a b c")
    assert exact_key("a b c") != exact_key("ab c")


@pytest.mark.external
def test_editions_of_a_book_are_as_alike_as_counted(external_data: Path):
    """Gold: Jaccard of 5-word shingles of pairs of editions, counted by others exactly."""
    with zstandard.open(external_data / "dedup" / "rust-book-editions.jsonl.zst", "rt") as file:
        texts = {row["id"]: row["text"] for row in map(json.loads, file)}
    with gzip.open(external_data / "dedup" / "rust-book-pairs.jsonl.gz", "rt") as file:
        pairs = list(map(json.loads, file))
    signer = Signer(512, 1)
    errors = []
    for pair in pairs:
        one, two = (signer.sign(shingle_hashes(texts[pair[name]], 5)) for name in "ab")
        errors.append(float((one == two).mean()) - pair["jaccard_5word"])
    assert abs(np.mean(errors)) < 0.01
    assert np.max(np.abs(errors)) < 4.5 * 0.5 / np.sqrt(512)

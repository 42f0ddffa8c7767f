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

from tasks.common.minhash import Signer, exact_key, fold, shingle
from tasks.common.words import batches

WORDS = [f"word{n}" for n in range(400)]
TEXT = " ".join(WORDS)


def sign(signer: Signer, texts: list[str]) -> np.ndarray:
    rows, signatures = signer.sign(shingle(fold(texts), 5))
    assert rows.tolist() == list(range(len(texts)))
    return signatures


@pytest.mark.parametrize("seed", [1, 99])
def test_signatures_are_those_that_datasketch_makes(seed: int):
    texts = [" ".join(WORDS[:num_words]) for num_words in (5, 6, 400)]
    for text, signature in zip(texts, sign(Signer(112, seed), texts), strict=True):
        reference = MinHash(num_perm=112, seed=seed, scheme="affine32", hashfunc=int)
        reference.update_batch(shingle(fold([text]), 5).hashes.tolist())
        np.testing.assert_array_equal(signature, reference.hashvalues)


@settings(max_examples=50)
@given(st.lists(st.lists(st.sampled_from(WORDS[:9]), max_size=12).map(" ".join), max_size=6))
def test_a_signature_does_not_depend_on_the_neighbours(texts: list[str]):
    signer = Signer(16, 1)
    rows, signatures = signer.sign(shingle(fold(texts), 5))
    assert rows.tolist() == [at for at, text in enumerate(texts) if len(text.split()) >= 5]
    for row, signature in zip(rows, signatures, strict=True):
        np.testing.assert_array_equal(signature, sign(signer, [texts[row]])[0])


@pytest.mark.parametrize("shared", [0, 100, 200, 300, 360, 400])
def test_agreement_estimates_jaccard(shared: int):
    other = " ".join(WORDS[:shared] + [f"new{n}" for n in range(400 - shared)])
    mine, theirs = (set(shingle(fold([text]), 5).hashes.tolist()) for text in (TEXT, other))
    true = len(mine & theirs) / len(mine | theirs)
    one, two = sign(Signer(1024, 3), [TEXT, other])
    four_sigma = 4 * np.sqrt(true * (1 - true) / 1024) + 1e-9
    assert abs((one == two).mean() - true) <= four_sigma


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["red", "green", "blue"]), max_size=30), st.integers(1, 6))
def test_equal_shingles_have_equal_hashes_and_others_have_not(words: list[str], n: int):
    grams = [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
    hashes = shingle([" ".join(words), "red"], n).hashes[: len(grams)].tolist()
    assert len(set(zip(grams, hashes, strict=True))) == len(set(grams)) == len(set(hashes))


def test_case_and_blanks_do_not_make_a_text_new():
    assert exact_key(*fold(["A  b\n\nC"])) == exact_key("a b c")
    assert exact_key("a b c") != exact_key("ab c")


@pytest.mark.external
def test_editions_of_a_book_are_as_alike_as_counted(external_data: Path):
    """Gold: Jaccard of 5-word shingles of pairs of editions, counted by others exactly."""
    with zstandard.open(external_data / "dedup" / "rust-book-editions.jsonl.zst", "rt") as file:
        texts = {row["id"]: row["text"] for row in map(json.loads, file)}
    with gzip.open(external_data / "dedup" / "rust-book-pairs.jsonl.gz", "rt") as file:
        pairs = list(map(json.loads, file))
    signer = Signer(512, 1)
    names = list(texts)
    signatures = [
        signature
        for part in batches(list(texts.values()))
        for signature in sign(signer, list(texts.values())[part])
    ]
    signed = dict(zip(names, signatures, strict=True))
    errors = [(signed[p["a"]] == signed[p["b"]]).mean() - p["jaccard_5word"] for p in pairs]
    assert abs(np.mean(errors)) < 0.01
    assert np.max(np.abs(errors)) < 4.5 * 0.5 / np.sqrt(512)

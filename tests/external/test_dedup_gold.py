"""Near copies that others have counted or found: editions of a book, transcriptions of novels.

Run with ``pytest tests/external --external-data=PATH``; PATH holds ``dedup`` and ``text/books``.
"""

from pathlib import Path

import numpy as np
import pytest

from tasks.common.minhash import fold, shingle
from tasks.duplicates.config import DuplicatesConfig
from tasks.signatures.config import SignaturesConfig
from tests.benchmarks.dedup import (
    PERMUTATIONS,
    edition_rates,
    editions,
    exact_similarities,
    found_pairs,
    novels,
    sign_novels,
)

pytestmark = [pytest.mark.external, pytest.mark.slow]


def test_pairs_are_found_as_theory_says_at_every_threshold(external_data: Path):
    ids, texts, gold = editions(external_data)
    exact = exact_similarities(shingle(fold(texts), 5), len(texts))
    places = {name: at for at, name in enumerate(ids)}
    for (one, other), similarity in gold.items():
        assert exact[places[one], places[other]] == pytest.approx(similarity, abs=1e-4)
    for threshold, _, rates in edition_rates(texts, exact, num_seeds=100):
        recall, expected_recall, precision, expected_precision = rates
        assert recall == pytest.approx(expected_recall, abs=0.01), threshold
        assert precision == pytest.approx(expected_precision, abs=0.01), threshold


def test_transcriptions_of_one_novel_are_found_with_the_defaults_and_nothing_else_is(
    external_data: Path,
):
    texts, pairs = novels(external_data)
    config = DuplicatesConfig()
    assert SignaturesConfig().num_permutations == PERMUTATIONS
    signatures = sign_novels(texts, SignaturesConfig().ngram_words)
    found = np.argwhere(np.triu(found_pairs(signatures, config.num_bands, config.rows_per_band), 1))
    assert {tuple(pair) for pair in found.tolist()} == {tuple(sorted(pair)) for pair in pairs}

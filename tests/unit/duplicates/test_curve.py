"""The S-curve: datasketch chooses as we do, and drawn signatures are found as often as it says."""

import numpy as np
import pytest
from datasketch.lsh import _optimal_param

from tasks.duplicates.curve import best_bands, curve_summary, find_probability


@pytest.mark.parametrize("num_permutations", [16, 112, 128])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9])
def test_bands_for_a_threshold_are_those_that_datasketch_chooses(
    threshold: float, num_permutations: int
):
    theirs = _optimal_param(threshold, num_permutations, 0.5, 0.5)
    assert best_bands(threshold, num_permutations) == theirs


@pytest.mark.parametrize(("similarity", "share"), [(0.7, 0.565), (0.8, 0.924), (0.9, 1.0)])
def test_published_figures_of_finewebs_bands(similarity: float, share: float):
    assert curve_summary(14, 8)["found_at"][f"{similarity:.2f}"] == pytest.approx(share, abs=5e-4)


def test_pairs_are_found_as_often_as_the_curve_says():
    draw = np.random.default_rng(1)
    for similarity in (0.5, 0.7, 0.9):
        agree = draw.random((20_000, 14, 8)) < similarity
        share = agree.all(axis=2).any(axis=1).mean()
        assert share == pytest.approx(find_probability(similarity, 14, 8), abs=0.015)


def test_half_of_the_pairs_are_found_where_it_says():
    assert find_probability(curve_summary(9, 4)["half_found_at"], 9, 4) == pytest.approx(0.5)

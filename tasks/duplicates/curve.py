"""How likely MinHash bands find a pair. Pure: similarities in, probabilities out.

A pair of Jaccard similarity s agrees in a band of r rows with probability s^r, and in at least one
of b bands with 1 - (1 - s^r)^b (Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, 3.4).
"""

import numpy as np

SHOWN_SIMILARITIES = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
GRID = (np.arange(1_000) + 0.5) / 1_000


def find_probability(similarity: np.ndarray, num_bands: int, rows_per_band: int) -> np.ndarray:
    """The probability that a pair of each similarity agrees in at least one band."""
    return 1 - (1 - np.asarray(similarity) ** rows_per_band) ** num_bands


def best_bands(threshold: float, num_permutations: int) -> tuple[int, int]:
    """Bands and rows a band for which least is found below ``threshold`` and missed above it.

    Both errors, as areas under the curve, count the same, as with datasketch's default weights.
    """
    is_below = threshold > GRID
    best, least = (1, 1), np.inf
    for num_bands in range(1, num_permutations + 1):
        for rows_per_band in range(1, num_permutations // num_bands + 1):
            found = find_probability(GRID, num_bands, rows_per_band)
            error = np.where(is_below, found, 1 - found).sum()
            if error < least:
                best, least = (num_bands, rows_per_band), error
    return best


def curve_summary(num_bands: int, rows_per_band: int) -> dict[str, float | int | dict[str, float]]:
    """What a report says about a choice of bands."""
    found = find_probability(np.array(SHOWN_SIMILARITIES), num_bands, rows_per_band)
    return {
        "num_bands": num_bands,
        "rows_per_band": rows_per_band,
        "half_found_at": float((1 - 0.5 ** (1 / num_bands)) ** (1 / rows_per_band)),
        "found_at": {
            f"{similarity:.2f}": float(share)
            for similarity, share in zip(SHOWN_SIMILARITIES, found, strict=True)
        },
    }

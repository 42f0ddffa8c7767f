"""Rows that share a key are the same however little of them is held in memory."""

from pathlib import Path

import numpy as np
import pytest

from tasks.duplicates.spill import rows_that_share


@pytest.mark.parametrize("rows_a_part", [1_000_000, 900, 64, 1])
def test_parts_together_hold_each_row_that_shares_its_key_once(tmp_path: Path, rows_a_part: int):
    draw = np.random.default_rng(1)
    keys = draw.choice(draw.integers(0, 1 << 64, 3_000, np.uint64), 4_000)
    keys[100:900] = keys[0]  # far more than a part holds
    stream = ((keys[at : at + 250], np.arange(at, at + 250)) for at in range(0, 4_000, 250))
    found: dict[int, set[int]] = {}
    num_rows = 0
    for part_keys, rows in rows_that_share(stream, len(keys), tmp_path, rows_a_part):
        assert (part_keys[1:] >= part_keys[:-1]).all()
        assert not found.keys() & set(part_keys.tolist()), "a key is in two parts"
        for key, row in zip(part_keys.tolist(), rows.tolist(), strict=True):
            found.setdefault(key, set()).add(row)
        num_rows += len(rows)
    expected: dict[int, set[int]] = {}
    for row, key in enumerate(keys.tolist()):
        expected.setdefault(key, set()).add(row)
    assert found == {key: rows for key, rows in expected.items() if len(rows) > 1}
    assert num_rows == sum(map(len, found.values()))
    assert not list(tmp_path.iterdir())


def test_nothing_shares_nothing(tmp_path: Path):
    for num_rows in (0, 100):
        assert [len(keys) for keys, _ in rows_that_share(iter(()), num_rows, tmp_path, 10)] in (
            [],
            [0] * 10,
        )

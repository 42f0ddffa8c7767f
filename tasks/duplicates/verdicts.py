"""A decision put into words: rows in, a table of verdicts out."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.common.verdict import VERDICT_SCHEMA
from tasks.duplicates.decision import IN, OLDER, SAME_URL, TAKEN_DOWN, WITHDRAWN, Decision

REASONS = (
    None,
    "older_version",
    "same_url",
    "withdrawn",
    "takedown",
    "exact_duplicate",
    "duplicate_id",
    "near_duplicate",
)
EXACT, SAME_ID, NEAR = 5, 6, 7


def verdict_table(decision: Decision, rows: np.ndarray, named: Mapping[int, str]) -> pa.Table:
    """The verdicts on some rows.

    Args:
        decision: complete.
        rows: their numbers.
        named: what entry of a takedown list names a row, for all rows that one does.
    """
    codes, kept = _judge(decision, rows)
    ids = decision.arrays["id"]
    kept_ids = _text(ids[kept])
    is_taken = codes == TAKEN_DOWN
    details: list[str | None] = [None] * len(rows)
    for at in np.flatnonzero(is_taken):
        details[at] = named.get(int(rows[at])) or f"copy of {kept_ids[at]}"
    columns = {
        "id": _text(ids[rows]),
        "reason": pa.array(REASONS).take(pa.array(codes)),
        "kept_id": pc.if_else(pa.array(is_taken | (codes == WITHDRAWN)), None, kept_ids),
        "detail": pa.array(details, pa.string()),
        "cluster_id": _text(ids[decision.least[rows]]),
        "cluster_size": pa.array(decision.sizes[rows], pa.int32()),
    }
    return pa.table([columns[name] for name in VERDICT_SCHEMA.names], schema=VERDICT_SCHEMA)


def _judge(decision: Decision, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row an index into REASONS and the row that stays in its place."""
    newest = decision.newest[rows]
    states, of_newest = decision.states[rows], decision.states[newest]
    follows = (states == OLDER) | (states == SAME_URL)
    codes = np.where(follows & (of_newest == TAKEN_DOWN), TAKEN_DOWN, states)
    kept = decision.kept[np.where(follows, newest, rows)]
    exact_keys, ids = decision.arrays["exact_key"], decision.arrays["id"]
    copy = np.select(
        [exact_keys[kept] == exact_keys[rows], ids[kept] == ids[rows]], [EXACT, SAME_ID], NEAR
    )
    return np.where((codes == IN) & (kept != rows), copy, codes), kept


def _text(values: np.ndarray) -> pa.Array:
    return pa.array(values).cast(pa.string())

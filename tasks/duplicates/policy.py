"""Which copy stays. Pure: a table of keys in, a rank for each row out, the least the best."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.common.signature_index import UNKNOWN
from tasks.duplicates.config import DuplicatesConfig


def ranks(keys: pa.Table, config: DuplicatesConfig) -> np.ndarray:
    """The rank of each document under the policy chosen; what it cannot judge comes last."""
    if config.keep == "longest":
        return -keys["num_chars"].to_numpy().astype(np.float64)
    if config.keep == "quality":
        quality = _quality(keys, config.quality)
        return np.where(np.isnan(quality), np.inf, -quality)
    if config.keep == "source":
        preferred = pa.array(config.preferred_sources, pa.string())
        places = pc.index_in(keys["source"], preferred)
        return pc.fill_null(places, len(preferred)).to_numpy().astype(np.float64)
    fetched_at = keys["fetched_at"].to_numpy()
    order = fetched_at if config.keep == "first" else -fetched_at
    return np.where(fetched_at == UNKNOWN, np.inf, order.astype(np.float64))


def _quality(keys: pa.Table, name: str) -> np.ndarray:
    if name == "quality_score":
        values = keys[name]
    else:
        values = pc.map_lookup(keys["signals"], pa.scalar(name), "first")
    return values.cast(pa.float64()).to_numpy()

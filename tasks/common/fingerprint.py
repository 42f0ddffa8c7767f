"""Content addresses: from values to a short, stable name.

In: plain values (a stage's name, version, configuration and the fingerprints of its inputs).
Out: sixteen hex digits. Machines, paths, clocks and worker counts are not values of a result and
never come here. A value with no stable bytes is refused rather than guessed at.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

FINGERPRINT_HEX_DIGITS = 16


def canonical_json(value: Any) -> str:
    """Write ``value`` in the one spelling that equal values share (sorted keys, no blanks).

    Raises:
        ValueError: for anything whose spelling is not stable: sets, callables, objects, NaN.
    """
    return json.dumps(_plain(value, "value"), sort_keys=True, separators=(",", ":"))


def fingerprint(value: Any) -> str:
    """Name ``value`` by the SHA-256 of its canonical JSON, cut to 64 bits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:FINGERPRINT_HEX_DIGITS]


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Enum):
        return _plain(value.value, where)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}, which has no stable spelling; use a number")
        return int(value) if value.is_integer() else value  # 1 and 1.0 are one threshold
    if isinstance(value, Mapping):
        return {_key(key, where): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise ValueError(
        f"{where} is a {type(value).__name__}, which has no stable bytes; "
        "use text, numbers, lists and mappings"
    )


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise ValueError(f"{where} has the key {key!r}; keys must be text")
    return key

"""Page functions that behave badly, named by the guard's tests."""

import ctypes
import os
import time
from typing import Any


def misbehave(item: str, config: Any) -> str:
    if item == "hang":
        time.sleep(600)
    if item == "segfault":
        ctypes.string_at(0)
    if item == "exit":
        os._exit(3)
    if item == "memory":
        bytearray(10**12)
    if item == "error":
        raise ValueError("no good")
    return f"{item} {config}"


def take_half_a_second(item: int, config: Any) -> int:
    time.sleep(0.5)
    return item


_calls: list[int] = []


def crash_second(item: int, config: Any) -> int:
    """Crash whenever this process has already served an item, as after a spoilt heap."""
    _calls.append(item)
    if len(_calls) > 1:
        os._exit(1)
    return item

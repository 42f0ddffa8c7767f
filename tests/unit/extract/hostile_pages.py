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

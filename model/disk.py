"""Writing where there may be no room: said before it is tried where that can be known, and in one
line that a person can act on where it cannot.

In: what is to be written, where, and how many bytes of it. Out: nothing, or a ``DiskFullError``.
Standard library only.
"""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# No space on the device, a quota, and the limit of ``ulimit -f``.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFullError(OSError):
    """There is no room; ``launch.py`` has an exit code for it."""


@contextmanager
def room_for(what: str, path: Path, num_bytes: int) -> Iterator[None]:
    """A block that writes about ``num_bytes`` at ``path``; it does not begin without the room.

    Raises:
        DiskFullError: there are fewer bytes free, or the disk says within the block that it is
            full. What the block has left behind is for its caller to remove.
    """
    free_bytes = _free_bytes(path)
    if free_bytes < num_bytes:
        raise DiskFullError(_full(what, path, num_bytes, free_bytes))
    with telling_when_full(what, path, num_bytes):
        yield


@contextmanager
def telling_when_full(what: str, path: Path, num_bytes: int) -> Iterator[None]:
    """A block that writes; as ``room_for``, without looking first."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DiskFullError) or not _says_full(error):
            raise
        reason = _full(what, path, num_bytes, _free_bytes(path))
        raise DiskFullError(f"{reason} ({error})") from error


def _full(what: str, path: Path, num_bytes: int, free_bytes: int) -> str:
    return (
        f"no room on the disk for {what}: {path} needs {num_bytes:,} bytes, {free_bytes:,} are "
        "free there. Make room and run the same again: it goes on from the last checkpoint, "
        "which is whole"
    )


def _free_bytes(path: Path) -> int:
    """What this user may still write on the disk that will hold ``path``."""
    path = path.absolute()
    there = next(folder for folder in (path, *path.parents) if folder.is_dir())
    return shutil.disk_usage(there).free


def _says_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    # safetensors, and shutil for a whole folder, have errors of their own, with the system's
    # number in their text.
    said = str(error)
    return any(f"(os error {n})" in said or f"[Errno {n}]" in said for n in FULL)

"""The user's own files as inputs: named logically, told apart by checksum."""

import glob
import hashlib
from collections.abc import Sequence
from pathlib import Path


def expand_files(paths: Sequence[str]) -> dict[str, Path]:
    """Logical name → file, for files, folders (all that is in them) and glob patterns.

    A logical name is the path below what the user named, so that a moved folder keeps its names.

    Raises:
        ValueError: a path that matches nothing.
    """
    found: dict[str, Path] = {}
    for given in paths:
        for match in _matches(given):
            if match.is_dir():
                below = sorted(path for path in match.rglob("*") if path.is_file())
                found.update({path.relative_to(match).as_posix(): path for path in below})
            elif match.is_file():
                found[match.name if match.name not in found else match.as_posix()] = match
            else:
                raise ValueError(f"{given}: no such file, folder or pattern")
    return found


def checksums(paths: Sequence[str]) -> dict[str, str]:
    """Logical name → SHA-256, for an identity that does not change when files move."""
    return {name: sha256_of(path) for name, path in expand_files(paths).items()}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _matches(given: str) -> list[Path]:
    matches = sorted(glob.glob(given, recursive=True))  # noqa: PTH207 - absolute patterns too
    return [Path(match) for match in matches or [given]]

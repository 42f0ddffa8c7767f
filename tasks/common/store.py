"""The artifact store: immutable folders on local disk or any fsspec URL, found by fingerprint.

Layout under the root::

    <stage>/<fingerprint>/…, manifest.json     an artifact; the manifest is written last
    .scratch/<stage>/<fingerprint>/…           an artifact in the making (local roots)
    .lease/<stage>/<fingerprint>/N             who is making it
    refs/<name>.json                           readable names for fingerprints

The store is the only cache. A folder without a manifest does not exist for a reader.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from tasks.common.lease import Lease, create_exclusively
from tasks.common.manifest import MANIFEST_NAME, ArtifactRef, FileEntry, Manifest

COMMITS_FOLDER = ".commits"
# What the network may do to one request before it becomes an error of ours.
S3_OPTIONS: dict[str, Any] = {
    "config_kwargs": {
        "retries": {"max_attempts": 8, "mode": "standard"},
        "connect_timeout": 10,
        "read_timeout": 30,
    },
    "use_listings_cache": False,
}


class Store:
    """Artifacts under one root: ``./store``, ``file:///…`` or ``s3://bucket/prefix``.

    Args:
        root: where artifacts live.
        local_folder: where a remote store's artifacts are made and its files are kept once
            fetched; local stores need none.
    """

    def __init__(self, root: str, local_folder: Path | None = None) -> None:
        self.url = root
        options = S3_OPTIONS if root.startswith("s3://") else {}
        self.fs, path = fsspec.core.url_to_fs(root, **options)
        self.root = path.rstrip("/")
        self.is_local = isinstance(self.fs, LocalFileSystem)
        if self.is_local:
            self.local_folder = Path(self.root)
        else:
            base = local_folder or Path.home() / ".cache" / "bloomery"
            self.local_folder = base / hashlib.sha256(root.encode()).hexdigest()[:12]

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.url, None if self.is_local else self.local_folder.parent)

    def path(self, ref: ArtifactRef, name: str = "") -> str:
        """The path of an artifact, or of one of its files, on the store's file system."""
        return "/".join(filter(None, [self.root, ref.stage, ref.fingerprint, name]))

    def has(self, ref: ArtifactRef) -> bool:
        """Whether the artifact is there, whole."""
        return bool(self.fs.exists(self.path(ref, MANIFEST_NAME)))

    def manifest(self, ref: ArtifactRef) -> Manifest:
        """Read an artifact's manifest; FileNotFoundError if it has not been made."""
        return Manifest.model_validate_json(self.fs.cat_file(self.path(ref, MANIFEST_NAME)))

    def open(self, ref: ArtifactRef) -> "Artifact":
        """Open an artifact for reading."""
        return Artifact(self, self.manifest(ref))

    def manifests(self, stage: str | None = None) -> Iterator[Manifest]:
        """Every whole artifact, ordered by stage and fingerprint."""
        pattern = f"{self.root}/{stage or '[!.]*'}/*/{MANIFEST_NAME}"
        for path in sorted(self.fs.glob(pattern)):
            try:
                yield Manifest.model_validate_json(self.fs.cat_file(path))
            except FileNotFoundError:  # deleted since it was listed
                continue

    def resolve(self, text: str) -> ArtifactRef:
        """Find the one artifact that ``text`` means: a name, ``stage/…`` or a unique prefix.

        Raises:
            ValueError: nothing, or more than one artifact, matches.
        """
        named = f"{self.root}/refs/{text}.json"
        if self.fs.exists(named):
            return ArtifactRef.model_validate_json(self.fs.cat_file(named))
        stage, _, digits = text.rpartition("/")
        matches = [
            manifest.ref
            for manifest in self.manifests(stage or None)
            if manifest.fingerprint.startswith(digits)
        ]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise ValueError(f"{text!r} could be any of: {', '.join(map(str, matches))}")
        raise ValueError(f"no artifact {text!r} in {self.url}; `bloomery ls` lists what is there")

    def give_name(self, name: str, ref: ArtifactRef) -> None:
        """Point a readable name, e.g. ``corpus/demo``, at an artifact."""
        self.fs.makedirs(f"{self.root}/refs/{name}".rpartition("/")[0], exist_ok=True)
        self.fs.pipe_file(f"{self.root}/refs/{name}.json", ref.model_dump_json().encode())

    def names(self) -> dict[str, ArtifactRef]:
        """All readable names and what they point at."""
        folder = f"{self.root}/refs/"
        return {
            path.removeprefix(folder).removesuffix(".json"): ArtifactRef.model_validate_json(
                self.fs.cat_file(path)
            )
            for path in sorted(self.fs.glob(f"{folder}**/*.json"))
        }

    def verify(self, ref: ArtifactRef) -> list[str]:
        """Compare every file with the manifest; return what is wrong, an empty list if nothing."""
        problems = []
        for entry in self.manifest(ref).files:
            try:
                with self.fs.open(self.path(ref, entry.name), "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError:
                problems.append(f"{entry.name} is missing")
                continue
            if digest != entry.sha256:
                problems.append(f"{entry.name} has changed since it was sealed")
        return problems

    def delete(self, ref: ArtifactRef) -> None:
        """Remove an artifact, its manifest first, so that nobody reads a half of it.

        Of a remote store's also what was fetched of it to this machine.
        """
        self.fs.rm_file(self.path(ref, MANIFEST_NAME))
        self.fs.rm(self.path(ref), recursive=True)
        if not self.is_local:
            shutil.rmtree(self.local_folder / "fetched" / str(ref), ignore_errors=True)

    def lease(self, ref: ArtifactRef, on_wait: Callable[[str], None]) -> Lease:
        """The right to make ``ref``; wait for it in a ``with`` block."""
        folder = f"{self.root}/.lease/{ref}"
        if self.is_local:
            self.fs.makedirs(folder, exist_ok=True)
        return Lease(self.fs, folder, done=lambda: self.has(ref), on_wait=on_wait)

    def workspace(self, ref: ArtifactRef, guard: Callable[[], None] = lambda: None) -> "Workspace":
        """The place to make ``ref`` in; holds what an interrupted attempt has committed.

        ``guard`` raises when the right to make ``ref`` is lost; it is asked before each commit.
        """
        return Workspace(self, ref, guard)


@dataclass(frozen=True)
class Artifact:
    """A sealed artifact, readable file by file. Small enough to send to a worker process."""

    store: Store
    manifest: Manifest

    @property
    def ref(self) -> ArtifactRef:
        """This artifact's address."""
        return self.manifest.ref

    def names(self, suffix: str = "", folder: str = "") -> list[str]:
        """Names of the files directly in ``folder`` that end in ``suffix``, in order."""
        return sorted(
            entry.name
            for entry in self.manifest.files
            if entry.name.rpartition("/")[0] == folder and entry.name.endswith(suffix)
        )

    def fetch(self, name: str) -> Path:
        """A local path of one file: in place on a local store, else a checked local copy."""
        if self.store.is_local:
            return Path(self.store.path(self.ref, name))
        entry = next(entry for entry in self.manifest.files if entry.name == name)
        target = self.store.local_folder / "fetched" / str(self.ref) / name
        if not target.exists():
            _fetch_checked(self.store.fs, self.store.path(self.ref, name), target, entry)
        return target

    def folder(self) -> Path:
        """A local folder with every file of the artifact."""
        for entry in self.manifest.files:
            self.fetch(entry.name)
        if self.store.is_local:
            return Path(self.store.path(self.ref))
        return self.store.local_folder / "fetched" / str(self.ref)


class Workspace:
    """A local folder in which one artifact is made, piece by committed piece.

    A piece is committed by a small record written after its files; an interrupted attempt's
    committed pieces are found again and not redone. For a remote store each commit is also copied
    there, so that another machine can go on. Nobody reads any of it before ``seal``.
    """

    def __init__(self, store: Store, ref: ArtifactRef, guard: Callable[[], None]) -> None:
        self._store = store
        self._ref = ref
        self._guard = guard
        self.path = store.local_folder / ".scratch" / ref.stage / ref.fingerprint
        (self.path / COMMITS_FOLDER).mkdir(parents=True, exist_ok=True)
        if not store.is_local:
            self._pull()

    def committed(self, key: str) -> Any:
        """The result with which the piece ``key`` was committed, or None."""
        record = self.path / COMMITS_FOLDER / f"{key}.json"
        return json.loads(record.read_text())["result"] if record.exists() else None

    def commit(self, key: str, result: Any, names: list[str], folder: Path | None = None) -> None:
        """Commit the piece ``key``, whose files ``names`` are complete.

        Args:
            key: what to call the piece; committing it again replaces it.
            result: what ``committed`` will return; JSON.
            names: the piece's files, relative to the workspace.
            folder: where those files lie under the same names, if they were put aside.
        """
        self._guard()
        source = folder or self.path
        _sync_all(source / name for name in names)
        target = self.path / COMMITS_FOLDER / f"{key}.json"
        partial = target.with_suffix(".partial")
        _write_synced(partial, json.dumps({"names": names, "result": result}))
        if self._store.is_local:
            partial.replace(target)
        else:
            self._commit_remotely(source, names, partial, target)

    def seal(self, manifest: Manifest) -> None:
        """Publish the folder as the artifact: files first, the manifest last."""
        self._guard()
        if self._store.is_local:
            self._seal_by_rename(manifest)
        else:
            self._seal_by_upload(manifest)

    def discard(self) -> None:
        """Forget all that was made and committed here, so that the next attempt begins anew."""
        self._guard()
        if not self._store.is_local:
            for path in sorted(self._store.fs.find(self._store.path(self._ref))):  # records first
                self._store.fs.rm_file(path)
        shutil.rmtree(self.path)

    def entries(self, num_rows: Callable[[Path], int | None]) -> list[FileEntry]:
        """Size and checksum every file made here, in the order of their names."""
        found = []
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path).as_posix()
            if path.is_dir() or any(part.startswith(".") for part in name.split("/")):
                continue
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append(
                FileEntry(name=name, bytes=path.stat().st_size, sha256=digest, rows=num_rows(path))
            )
        return found

    def _commit_remotely(self, source: Path, names: list[str], partial: Path, target: Path) -> None:
        """Files, then the record there, then the record here, then drop what it replaced.

        At every moment the files that the remote record names are there, and a machine that is
        cut off has no record that is newer than the remote one.
        """
        former = _record_names(target)
        for name in names:
            self._push(source / name, name)
        self._guard()  # the upload may have taken long
        self._push(partial, f"{COMMITS_FOLDER}/{target.name}")
        partial.replace(target)
        for name in sorted(former - self._committed_names()):
            with suppress(FileNotFoundError):
                self._store.fs.rm_file(self._store.path(self._ref, name))

    def _seal_by_rename(self, manifest: Manifest) -> None:
        final = Path(self._store.path(self._ref))
        final.parent.mkdir(parents=True, exist_ok=True)
        _sync_all(self.path / entry.name for entry in manifest.files)
        self._guard()
        if final.exists():  # leftovers of a deletion that was cut short: never a whole artifact
            shutil.rmtree(final)
        _write_synced(self.path / MANIFEST_NAME, manifest.model_dump_json(indent=1))
        _sync(self.path)
        self.path.rename(final)
        _sync(final.parent)
        for hidden in final.glob(".*"):
            shutil.rmtree(hidden) if hidden.is_dir() else hidden.unlink()

    def _seal_by_upload(self, manifest: Manifest) -> None:
        fs, root = self._store.fs, self._store.path(self._ref)
        wanted = {entry.name for entry in manifest.files}
        for name in sorted(wanted - self._committed_names()):
            self._push(self.path / name, name)
        self._guard()
        for path in fs.find(root):
            if path.removeprefix(f"{root}/") not in wanted:
                fs.rm_file(path)
        with suppress(FileExistsError):  # an equal artifact is there, which is what was wanted
            create_exclusively(fs, f"{root}/{MANIFEST_NAME}", manifest.model_dump_json().encode())
        shutil.rmtree(self.path)

    def _committed_names(self) -> set[str]:
        records = (self.path / COMMITS_FOLDER).glob("*.json")
        return {name for record in records for name in _record_names(record)}

    def _push(self, source: Path, name: str) -> None:
        self._store.fs.put_file(str(source), self._store.path(self._ref, name))

    def _pull(self) -> None:
        """Make the commits here those of the remote store: another machine may have gone on."""
        remote = self._store.fs.find(f"{self._store.path(self._ref)}/{COMMITS_FOLDER}")
        folder = self.path / COMMITS_FOLDER
        for record in set(folder.glob("*.json")) - {folder / Path(path).name for path in remote}:
            record.unlink()  # another machine has discarded it
        for path in remote:
            self._pull_piece(self._store.fs.cat_file(path), folder / Path(path).name)

    def _pull_piece(self, record: bytes, target: Path) -> None:
        if target.exists() and target.read_bytes() == record:
            return
        for name in json.loads(record)["names"]:
            local = self.path / name
            local.parent.mkdir(parents=True, exist_ok=True)
            partial = local.with_name(f".{local.name}.partial")
            self._store.fs.get_file(self._store.path(self._ref, name), str(partial))
            partial.replace(local)
        partial = target.with_suffix(".partial")
        _write_synced(partial, record.decode())
        partial.replace(target)


def _record_names(record: Path) -> set[str]:
    return set(json.loads(record.read_text())["names"]) if record.exists() else set()


def _fetch_checked(
    fs: fsspec.AbstractFileSystem, source: str, target: Path, entry: FileEntry
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    fs.get_file(source, str(partial))
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != entry.sha256:
        partial.unlink()
        raise ValueError(
            f"{source} is damaged: its SHA-256 is not the manifest's; "
            "delete the artifact so that it is made again"
        )
    partial.replace(target)


def _write_synced(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_all(paths: Iterable[Path]) -> None:
    """Bring files and their names to the disk, before anything says that they are there."""
    folders = set()
    for path in paths:
        _sync(path)
        folders.add(path.parent)
    for folder in sorted(folders):
        _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

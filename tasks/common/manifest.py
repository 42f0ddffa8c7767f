"""The manifest: what an artifact is, what it was made of and what it cost.

It is the last file written into an artifact, so its presence is the commit. Its ``identity`` is
what the fingerprint hashes; everything else is provenance, which never enters a fingerprint.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tasks.common.fingerprint import fingerprint
from tasks.common.funnel import Funnel

MANIFEST_NAME = "manifest.json"


class ArtifactRef(BaseModel):
    """The address of an artifact, known before the artifact exists: ``stage/fingerprint``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.stage}/{self.fingerprint}"

    @classmethod
    def parse(cls, text: str) -> "ArtifactRef":
        """Read ``stage/fingerprint``; ValueError for anything else."""
        stage, slash, digits = text.partition("/")
        if not (stage and slash and digits) or "/" in digits:
            raise ValueError(f"{text!r} is not an artifact; write STAGE/FINGERPRINT")
        return cls(stage=stage, fingerprint=digits)


class Identity(BaseModel):
    """All that decides an artifact's content, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    version: int
    config: dict[str, Any]
    inputs: dict[str, list[str]]

    def ref(self) -> ArtifactRef:
        """The address this identity has, whether or not it has been made."""
        return ArtifactRef(stage=self.stage, fingerprint=fingerprint(self.model_dump()))


class FileEntry(BaseModel):
    """One file of an artifact."""

    name: str
    bytes: int
    sha256: str
    rows: int | None = None


class Provenance(BaseModel):
    """Who made it, with what, at what cost. Informative: never hashed."""

    code_revision: str
    tool_versions: dict[str, str]
    host: str
    started_at: str = Field(description="UTC, ISO 8601")
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    flow_run_id: str | None = None


class Manifest(BaseModel):
    """The record that makes a folder an artifact."""

    schema_version: int = 1
    fingerprint: str
    label: str = Field(default="", description="what a reader calls it, e.g. the source's name")
    identity: Identity
    files: list[FileEntry]
    funnel: Funnel | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    provenance: Provenance

    @property
    def ref(self) -> ArtifactRef:
        """This artifact's address."""
        return ArtifactRef(stage=self.identity.stage, fingerprint=self.fingerprint)

    @property
    def input_refs(self) -> list[ArtifactRef]:
        """Every artifact this one was made from, in the order of its inputs."""
        return [ArtifactRef.parse(r) for refs in self.identity.inputs.values() for r in refs]

    @property
    def total_bytes(self) -> int:
        """Bytes of all files, the manifest not counted."""
        return sum(entry.bytes for entry in self.files)

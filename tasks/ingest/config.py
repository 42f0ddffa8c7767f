"""Which plain files hold documents."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class IngestConfig(BaseModel):
    """Documents from JSONL (plain, gz, zst) or Parquet files with at least a ``text`` field."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Ingest")

    paths: list[str] = Field(title="Files", description="Files, folders or patterns")
    source: str = Field("files", title="Source", description="For documents that name none")
    kind: Literal["prose", "code"] = Field("prose", title="Kind", description="Which rules apply")
    licence: str | None = Field(None, title="Licence", description="For documents that state none")

"""What a user may say about dedup: nothing, since ``duplicates`` has decided everything."""

from pydantic import BaseModel, ConfigDict


class DedupConfig(BaseModel):
    """Verdicts are carried out as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Dedup")

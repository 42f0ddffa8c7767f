"""Verdicts: what ``duplicates`` decides of each document and ``dedup`` carries out."""

import pyarrow as pa

VERDICT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("reason", pa.string()),  # why it goes; null for a document that stays
        pa.field("kept_id", pa.string()),  # the document that stays in its place; itself if it does
        pa.field("detail", pa.string()),  # where nothing stays: what it was taken down for
        pa.field("cluster_id", pa.string(), nullable=False),
        pa.field("cluster_size", pa.int32(), nullable=False),
    ]
)

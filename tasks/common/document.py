"""The document: one Arrow schema for every stage of the data path.

Columns are only ever filled, never renamed: a stage that knows more writes it into its column,
the stages before leave null. ``id`` is stable from extraction on and keys every later decision.
"""

import hashlib

import pyarrow as pa

SCORES = pa.map_(pa.string(), pa.float32())
DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # 128 bits in hex, see document_id
        pa.field("url", pa.string(), nullable=False),  # where it was found, or file:… for files
        pa.field("source", pa.string(), nullable=False),  # the configured source's name
        pa.field("kind", pa.string(), nullable=False),  # "prose" or "code": which rules apply
        pa.field("text", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("author", pa.string()),  # as the page names them, "; " between several
        pa.field("date", pa.string()),  # ISO 8601 day on which the page says it was published
        pa.field("site_name", pa.string()),
        pa.field("canonical_url", pa.string()),  # where the page says it belongs
        pa.field("links", pa.list_(pa.string())),  # outgoing, absolute, in order
        pa.field("fetched_at", pa.string()),  # ISO 8601, UTC, as the archive states it
        pa.field("licence", pa.string()),
        pa.field("metadata", pa.string()),  # JSON object: the archive record's own headers
        pa.field("opt_outs", pa.list_(pa.string())),  # what the page reserves, such as "noai"
        pa.field("declared_language", pa.string()),  # BCP 47, as the page or server declares it
        pa.field("language", pa.string()),  # ISO 639-1, as detected in the text
        pa.field("language_score", pa.float32()),
        pa.field("language_shares", SCORES),  # language → share of the text's characters
        pa.field("tags", pa.list_(pa.string())),  # what filter notes but does not drop for
        pa.field("signals", SCORES),  # measures of the text, by name, where they are asked for
        pa.field("cluster_id", pa.string()),  # the least id among a document and its copies
        pa.field("cluster_size", pa.int32()),  # how many they are; 1 for a document without copies
        pa.field("quality_score", pa.float32()),  # 0…1, set by classify
        pa.field("toxicity_score", pa.float32()),  # 0…1, set by classify
        pa.field("domain", pa.string()),
        pa.field("domain_score", pa.float32()),
        pa.field("domain_scores", SCORES),  # subject → probability
    ]
)

DROPPED_SCHEMA = DOCUMENT_SCHEMA.append(pa.field("reason", pa.string(), nullable=False)).append(
    pa.field("detail", pa.string())
)


def document_id(url: str, record: str) -> str:
    """Name a document by its URL and its record in the archive (a WARC record id or a path).

    Independent of shard order and worker count, so that dedup can be keyed by it.
    """
    return hashlib.blake2b(f"{url}\n{record}".encode(), digest_size=16).hexdigest()

"""The index holds of each document what can be said of it alone, whatever stands beside it."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks.common.minhash import Signer, exact_key, fold, shingle
from tasks.common.signature_index import instants, page_keys, signatures_name, url_keys
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.signatures.config import SignaturesConfig
from tasks.signatures.stage import STAGE
from tests.stages import given

DAY = "2026-01-01"
CONFIG = SignaturesConfig(num_permutations=16, seed=3)


def texts(num_documents: int) -> list[str]:
    """Some too short to be signed, some long enough to be a batch of their own."""
    lengths = [3, 40, 5, 4, 200, 30_000]
    return [
        " ".join(f"w{n}x{at}" for at in range(lengths[n % len(lengths)]))
        for n in range(num_documents)
    ]


@pytest.mark.parametrize("sizes", [[13], [0, 6, 7]])
def test_each_row_is_that_of_its_document(machine: Machine, sizes: list[int]):
    rows = [
        {
            "id": f"{n:032x}",
            "text": text,
            "url": f"https://a.invalid/{n}",
            "fetched_at": "2026-01-01",
        }
        for n, text in enumerate(texts(13))
    ]
    ends = np.cumsum(sizes)
    shards = [rows[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    inputs = {"documents": [given(machine, shards)]}
    manifest, _ = materialise(STAGE, CONFIG, inputs, machine)
    artifact = Store(machine.store).open(manifest.ref)
    found, columns = [], []
    for name in artifact.names(".parquet"):
        found += pq.read_table(artifact.fetch(name)).to_pylist()
        columns += list(np.load(artifact.fetch(signatures_name(name))).T)
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    for row, key, column in zip(rows, found, columns, strict=True):
        signed, signature = Signer(16, 3).sign(shingle(fold([row["text"]]), 5))
        assert key["is_signed"] == (len(signed) == 1)
        np.testing.assert_array_equal(column, signature[0] if len(signed) else np.zeros(16))
        assert key["exact_key"] == exact_key(fold([row["text"]])[0])
        assert key["url_key"] == url_keys(["given"], [row["url"]])[0]
        assert key["page_key"] == page_keys([row["url"]])[0]
        assert key["fetched_at"] == instants([DAY])[0]
        assert key["num_chars"] == len(row["text"])
    assert manifest.metrics == {"num_documents": 13, "num_signed": 8}


def test_without_minhash_nothing_is_signed(machine: Machine):
    inputs = {"documents": [given(machine, [[{"text": text} for text in texts(2)]])]}
    manifest, _ = materialise(STAGE, SignaturesConfig(minhash=False), inputs, machine)
    assert [entry.name for entry in manifest.files] == ["part-00000.parquet"]
    assert manifest.metrics["num_signed"] == 0

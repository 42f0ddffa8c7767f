"""What a site repeats goes, what its pages say stays."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.extract.config import ExtractConfig
from tasks.extract.site import host_key, page_keys, repeated_keys, without_repeats
from tasks.extract.stage import STAGE
from tests.unit.extract.archive_fixtures import given_archives, http, pack, record

HEADER = "The Example Times"
LEGAL = "All text on this site may be used by anyone who names us and the date of use."


def own(number: int) -> str:
    return f"Article {number} is about the thing numbered {number}, and nobody else wrote of it."


def article(number: int) -> str:
    return "\n\n".join(
        [HEADER, own(number), "See also", own(1000 + number), LEGAL, own(-number), LEGAL]
    )


def keys_of(pages: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    keys, hosts = [], []
    for host, text in pages:
        found = np.concatenate([np.zeros(1, np.uint64), page_keys(host, text)])
        keys.append(found)
        hosts.append(np.full(len(found), host_key(host), np.uint64))
    return np.concatenate(keys), np.concatenate(hosts)


@pytest.fixture
def repeated() -> np.ndarray:
    pages = [("a.example", article(n)) for n in range(10)] + [("b.example", article(0))]
    return repeated_keys(*keys_of(pages), min_repeats=5, min_share=0.2)


def test_edges_lose_all_that_is_repeated_and_the_inside_only_long_paragraphs(repeated):
    text, num_removed = without_repeats("a.example", article(3), repeated)
    assert text == "\n\n".join([own(3), "See also", own(1003), own(-3)])
    assert num_removed == 3


def test_what_one_host_repeats_is_no_others_affair(repeated):
    assert without_repeats("b.example", article(0), repeated) == (article(0), 0)


def test_a_copy_of_a_page_is_left_whole():
    pages = [("a.example", own(n % 2) + "\n\n" + own(n % 2 + 5)) for n in range(12)]
    repeated = repeated_keys(*keys_of(pages), min_repeats=5, min_share=0.2)
    assert len(repeated) == 4
    assert without_repeats(*pages[0], repeated) == (pages[0][1], 0)


@pytest.mark.parametrize(("num_others", "is_repeated"), [(20, True), (40, False)])
def test_a_large_host_repeats_what_a_share_of_its_pages_holds(num_others, is_repeated):
    pages = [("a", f"{HEADER}\n\n{own(n)}") for n in range(5)]
    pages += [("a", own(n)) for n in range(5, 5 + num_others)]
    found = repeated_keys(*keys_of(pages), min_repeats=5, min_share=0.2)
    assert bool(len(found)) == is_repeated


def test_repeats_are_counted_over_all_shards_whatever_the_workers(tmp_path):
    def page(number: int) -> bytes:
        paragraphs = "".join(f"<p>{p}</p>" for p in article(number).split("\n\n"))
        return record(http(f"<article>{paragraphs}".encode()), url=f"https://a.example/{number}")

    digests = []
    for num_workers in (1, 2):
        machine = Machine(store=str(tmp_path / str(num_workers)), num_workers=num_workers)
        archives = {f"{n}.warc.gz": pack([page(2 * n), page(2 * n + 1)]) for n in range(6)}
        pages = given_archives(machine, archives)
        manifest, _ = materialise(STAGE, ExtractConfig(source="s"), {"pages": [pages]}, machine)
        artifact = Store(machine.store).open(manifest.ref)
        texts = pq.read_table(artifact.fetch("part-00002.parquet"))["text"].to_pylist()
        assert LEGAL not in texts[0] and own(4) in texts[0]
        assert manifest.metrics["site_paragraphs"] >= 12
        digests.append([(entry.name, entry.sha256) for entry in manifest.files])
    assert digests[0] == digests[1]
    off = ExtractConfig(source="s", drop_site_boilerplate=False)
    manifest, _ = materialise(STAGE, off, {"pages": [pages]}, machine)
    artifact = Store(machine.store).open(manifest.ref)
    assert LEGAL in pq.read_table(artifact.fetch("part-00002.parquet"))["text"].to_pylist()[0]

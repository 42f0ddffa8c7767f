"""The data path on a small fixture makes what it made when its versions were last raised.

To refresh after a meant change: see ``golden.py``.
"""

import hashlib

import pytest
from pydantic import BaseModel

from tasks.classifiers.config import ClassifiersConfig, QualityConfig
from tasks.classifiers.stage import STAGE as CLASSIFIERS
from tasks.classify.config import ClassifyConfig
from tasks.classify.stage import STAGE as CLASSIFY
from tasks.common.manifest import ArtifactRef
from tasks.common.stage import Machine, Stage, materialise
from tasks.common.store import Store
from tasks.dedup.config import DedupConfig
from tasks.dedup.stage import STAGE as DEDUP
from tasks.duplicates.config import DuplicatesConfig
from tasks.duplicates.stage import STAGE as DUPLICATES
from tasks.extract.config import ExtractConfig
from tasks.extract.stage import STAGE as EXTRACT
from tasks.filter.config import FilterConfig
from tasks.filter.stage import STAGE as FILTER
from tasks.mix.config import MixConfig
from tasks.mix.stage import STAGE as MIX
from tasks.passages.config import (
    NearParagraphs,
    Paragraphs,
    PassagesConfig,
    SiteLines,
    Spans,
    Substrings,
)
from tasks.passages.stage import STAGE as PASSAGES
from tasks.signatures.config import SignaturesConfig
from tasks.signatures.stage import STAGE as SIGNATURES
from tests.golden.golden import check_golden
from tests.unit.extract.archive_fixtures import given_archives, http, pack, record

TOPICS = {"sea": "anchor mast harbour tide keel", "kitchen": "flour oven dough whisk garlic"}

ALL_PASSAGES = PassagesConfig(
    site_lines=SiteLines(on=True, min_pages=20),
    paragraphs=Paragraphs(on=True, scope="host"),
    spans=Spans(on=True, num_sentences=2),
    substrings=Substrings(on=True, num_words=5),
    near_paragraphs=NearParagraphs(on=True, min_words=10),
)


def words(seed: str, vocabulary: list[str], count: int) -> str:
    """Words drawn by a hash, so that no library's random numbers decide them."""
    draws = (hashlib.sha256(f"{seed}{n}".encode()).digest()[0] for n in range(count))
    return " ".join(vocabulary[draw % len(vocabulary)] for draw in draws)


def site(topic: str) -> bytes:
    vocabulary = (TOPICS[topic] + " the of and to be with who have that near old new").split()
    pages = []
    for number in range(24):
        seed = f"{topic}{number - number % 12 % 5}"  # some pages repeat an earlier one
        lines = [f"The {words(f'{seed}.{n}', vocabulary, 14)} is {n}." for n in range(8)]
        body = f"<title>{topic} {number}</title><h1>{topic}</h1>" + "".join(
            f"<p>{line}</p>" for line in lines
        )
        pages.append(record(http(body.encode()), url=f"https://{topic}.example/{number}"))
    pages.append(record(http(b"gone", status=404), url=f"https://{topic}.example/gone"))
    return pack(pages)


def make(
    stage: Stage, config: BaseModel, machine: Machine, **inputs: list[ArtifactRef]
) -> ArtifactRef:
    manifest, _ = materialise(stage, config, inputs, machine)
    return manifest.ref


@pytest.mark.xdist_group("golden")  # all write one file when refreshed
def test_the_data_path_makes_what_it_made(machine: Machine, store: Store):
    extracted = [
        make(
            EXTRACT,
            ExtractConfig(source=topic, domain=topic if topic == "sea" else None),
            machine,
            pages=[given_archives(machine, {f"{topic}.warc.gz": site(topic)})],
        )
        for topic in TOPICS
    ]
    check_golden(EXTRACT, store, store.manifest(extracted[0]))
    filtered = make(
        FILTER,
        FilterConfig(recipes=["gopher-quality", "fineweb", "code"]),
        machine,
        documents=extracted,
    )
    check_golden(FILTER, store, store.manifest(filtered))
    signed = make(SIGNATURES, SignaturesConfig(), machine, documents=[filtered])
    check_golden(SIGNATURES, store, store.manifest(signed))
    judged = make(DUPLICATES, DuplicatesConfig(), machine, signatures=[signed], pages=[])
    check_golden(DUPLICATES, store, store.manifest(judged))
    unique = make(DEDUP, DedupConfig(), machine, documents=[filtered], duplicates=[judged])
    check_golden(DEDUP, store, store.manifest(unique))
    cut = make(PASSAGES, ALL_PASSAGES, machine, documents=[extracted[0]])
    check_golden(PASSAGES, store, store.manifest(cut))
    config = ClassifiersConfig(quality=QualityConfig(reference_sources=["sea"]))
    judges = make(CLASSIFIERS, config, machine, documents=[unique])
    check_golden(CLASSIFIERS, store, store.manifest(judges))
    classified = make(CLASSIFY, ClassifyConfig(), machine, documents=[unique], classifiers=[judges])
    check_golden(CLASSIFY, store, store.manifest(classified))
    mixed = make(MIX, MixConfig(token_budget=5_000), machine, documents=[classified])
    check_golden(MIX, store, store.manifest(mixed))
    assert store.manifest(mixed).funnel.num_kept > 10

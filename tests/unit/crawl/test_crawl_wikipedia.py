"""Wiki dumps: every page once, however the dump is packed and wherever it is cut."""

import bz2
import gzip
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from tasks.common.stage import Machine
from tasks.crawl import files, packed, wikipedia
from tasks.crawl.wikipedia import Site, cut_pages
from tests.unit.crawl.source_files import source, taken

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>dewiki</dbname>
    <base>https://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>
    <namespaces>
      <namespace key="-2" case="first-letter">Medium</namespace>
      <namespace key="0" case="first-letter" />
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""
TAIL = "</mediawiki>\n"


def page(number: int, title: str, text: str, *, ns: int = 0, more: str = "") -> str:
    return f"""  <page>
    <title>{escape(title)}</title>
    <ns>{ns}</ns>
    <id>{number}</id>
    {more}
    <revision>
      <id>{number + 1000}</id>
      <timestamp>2024-05-{number % 28 + 1:02d}T01:02:03Z</timestamp>
      <contributor><username>A</username><id>1</id></contributor>
      <model>wikitext</model>
      <format>text/x-wiki</format>
      <text bytes="{len(text)}" xml:space="preserve">{escape(text)}</text>
    </revision>
  </page>
"""


PAGES = [
    *(page(n, f"Größe {n}/ß?", f"'''Text''' {n} <math>a<b</math> &nbsp;" * 9) for n in range(40)),
    page(90, "Weiter", "#REDIRECT [[Ziel]]", more='<redirect title="Ziel" />'),
    page(91, "Diskussion:Größe", "Hallo", ns=1),
    page(92, "Leer", ""),
    page(93, "Modul", "return 1").replace(">wikitext<", ">Scribunto<"),
]
XML = (HEAD + "".join(PAGES) + TAIL).encode()


def multistream(pages_a_stream: int) -> bytes:
    runs = [PAGES[i : i + pages_a_stream] for i in range(0, len(PAGES), pages_a_stream)]
    return b"".join(bz2.compress(part.encode()) for part in [HEAD, *map("".join, runs), TAIL])


def cut_anywhere(num_bytes: int) -> bytes:
    """What parallel bzip2 programs write: streams that know nothing of pages."""
    parts = [XML[i : i + num_bytes] for i in range(0, len(XML), num_bytes)]
    return b"".join(map(bz2.compress, parts))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(wikipedia, "BLOCK_BYTES", 4000)
    monkeypatch.setattr(wikipedia, "PACKED_BLOCK_BYTES", 900)
    monkeypatch.setattr(packed, "PIECE_BYTES", 700)
    monkeypatch.setattr(wikipedia, "PIECE_BYTES", 700)
    monkeypatch.setattr(files, "MAX_ROUND_BLOCKS", 3)


DUMPS = {
    "dewiki-20240601-pages-articles-multistream.xml.bz2": multistream(5),
    "dewiki-multistream1.xml-p1p44.bz2": multistream(100),
    "dewiki-pages-articles.xml.bz2": bz2.compress(XML),
    "dewiki-parallel.xml.bz2": cut_anywhere(997),
    "dewiki-tiny-streams.xml.bz2": cut_anywhere(61),
    "dewiki.xml": XML,
    "dewiki.xml.gz": gzip.compress(XML),
}


@pytest.mark.parametrize("name", DUMPS)
def test_every_page_is_there_once_however_the_dump_is_packed(name, tmp_path, machine, small_blocks):
    (tmp_path / name).write_bytes(DUMPS[name])
    manifest, rows, records = taken(machine, source(tmp_path / name))
    assert manifest.funnel.num_kept == 40
    assert manifest.funnel.dropped == {
        "redirect": 1, "namespace": 1, "empty": 1, "content_model": 1
    }  # fmt: skip
    assert len(rows) == len(PAGES)
    assert [record["X-Item-Id"] for record in records] == [str(n) for n in range(40)]
    first = records[7]
    assert first["body"].decode() == "'''Text''' 7 <math>a<b</math> &nbsp;" * 9
    assert first["WARC-Target-URI"] == "https://de.wikipedia.org/wiki/Gr%C3%B6%C3%9Fe_7/%C3%9F%3F"
    assert first["X-Title"] == "Größe 7/ß?"
    assert first["X-Revision-Id"] == "1007"
    assert first["WARC-Date"] == first["X-Date"] == "2024-05-08T01:02:03Z"
    assert (first["X-Language"], first["X-Licence"]) == ("de", "CC-BY-SA-4.0")
    assert first["X-Wiki-Hidden-Namespaces"] == "Medium|Datei|Kategorie"
    assert first["Content-Type"] == "text/x-wiki"


def test_a_damaged_stream_costs_its_pages_and_no_others(tmp_path, machine):
    whole = bytearray(multistream(5))
    starts = [i for i in range(len(whole)) if whole.startswith(wikipedia.STREAM_START, i)]
    whole[starts[3] + 60] ^= 0xFF  # pages 10 to 14
    (tmp_path / "w.xml.bz2").write_bytes(whole)
    manifest, _, records = taken(machine, source(tmp_path))
    found = {int(record["X-Item-Id"]) for record in records}
    assert found == set(range(40)) - set(range(10, 15))
    assert manifest.funnel.dropped["damaged_record"] == 1


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("w.xml", XML[:-500]),
        ("w.xml.gz", gzip.compress(XML)[:-50]),
        ("w.xml.bz2", multistream(44)[:-400]),
    ],
)
def test_a_cut_dump_says_so(name, data, tmp_path, machine):
    (tmp_path / name).write_bytes(data)
    (tmp_path / "beside.txt").write_text("text")
    reasons = taken(machine, source(tmp_path))[0].funnel.dropped
    assert {"truncated_record", "damaged_file"} & set(reasons)


def test_an_entity_bomb_stands_for_nothing(tmp_path, machine):
    entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))
    bomb = f'<!DOCTYPE x [<!ENTITY e0 "boom">{entities}]>\n'
    pages = page(1, "Bombe", "BOMB").replace("BOMB", "&e12;") + page(2, "Gut", "guter Text")
    (tmp_path / "w.xml").write_text(f"{HEAD.replace('<mediawiki', bomb + '<mediawiki')}{pages}")
    _, rows, records = taken(machine, source(tmp_path))
    assert [record["X-Title"] for record in records] == ["Gut"]
    assert [row["reason"] for row in rows] == ["damaged_record", None]


def test_a_page_without_end_is_not_held_in_memory(monkeypatch):
    monkeypatch.setattr(wikipedia, "MAX_PAGE_BYTES", 10_000)
    endless = b"<page>" + b"x" * 50_000 + b"</page>"
    pieces = [endless[i : i + 333] for i in range(0, len(endless), 333)]
    found = list(cut_pages([*pieces, b"<page>next</page>"]))
    assert found == [wikipedia.Bad("too_large"), b"<page>next</page>"]


def test_what_a_dump_says_cannot_add_headers(tmp_path, machine):
    head = HEAD.replace("/wiki/Wikipedia:", "/wiki/\nX-Licence: MIT\n")
    pages = page(1, "A\nX-Licence: MIT", "text").replace("2024-05-02T", "2024-05-02\nX-A: b T")
    (tmp_path / "w.xml").write_text(head + pages + TAIL)
    _, _, (record,) = taken(machine, source(tmp_path))
    assert not {"X-Licence", "X-A"} & set(record)
    assert record["X-Title"] == "A X-Licence: MIT"
    assert record["WARC-Target-URI"] == "file://notes/w.xml#page-1.1"


def test_other_wikis_have_no_licence_of_ours():
    head = HEAD.replace("de.wikipedia.org", "wiki.example.org")
    assert Site.read(HEAD).licence == "CC-BY-SA-4.0"
    assert Site.read(head).licence is None
    assert Site.read(HEAD.replace("de.wikipedia.org", "evilwikipedia.org")).licence is None


def test_more_namespaces_can_be_taken_and_other_xml_is_text(tmp_path, machine):
    (tmp_path / "w.xml").write_bytes(XML)
    (tmp_path / "other.xml").write_text("<?xml version='1.0'?><notes>one</notes>")
    _, _, records = taken(machine, source(tmp_path, wiki_namespaces=[1]))
    assert [(r["Content-Type"], r["WARC-Target-URI"]) for r in records] == [
        ("text/plain", "file://notes/other.xml"),
        ("text/x-wiki", "https://de.wikipedia.org/wiki/Diskussion:Gr%C3%B6%C3%9Fe"),
    ]


def test_workers_do_not_change_the_bytes(tmp_path, small_blocks):
    (tmp_path / "w.xml.bz2").write_bytes(multistream(5))
    made = []
    for workers in (1, 2):
        machine = Machine(store=str(tmp_path / str(workers)), num_workers=workers)
        made.append(
            [
                (f.name, f.sha256)
                for f in taken(machine, source(Path(tmp_path / "w.xml.bz2")))[0].files
            ]
        )
    assert made[0] == made[1]

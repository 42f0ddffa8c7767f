"""What becomes of one page: text, title, or a reason."""

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.extract.charset import clean_text, decode
from tasks.extract.codings import undo_chunks
from tasks.extract.config import ExtractConfig
from tasks.extract.page import Page, extract_page
from tasks.extract.records import Record
from tests.benchmarks.fuzz import Pages, fuzz
from tests.unit.extract.archive_fixtures import PROSE, http

CONFIG = ExtractConfig(source="s", min_chars=20)


def page(payload: bytes, *, kind: str = "response", content_type: str = "application/http") -> Page:
    one = Record(
        type=kind,
        url="https://a.example/x",
        record_id="1",
        date=None,
        content_type=content_type,
        payload=payload,
    )
    return extract_page(one, CONFIG)


def html(body: str, charset: str = "utf-8") -> bytes:
    return f"<html><title>T</title><body>{body}</body></html>".encode(charset)


def test_menus_go_and_lists_headings_and_code_stay():
    body = (
        "<nav><ul><li><a href=/>Home</a><li><a href=/b>About us</a></ul></nav><main><article><div>"
        f"<h1>On archives</h1><p>{PROSE}</p><h2>Shelves</h2><p>{PROSE}</p><ul><li>first thing</ul>"
        "<pre>def f():\n    return 1</pre></div></article></main><footer>Copyright us</footer>"
    )
    text = page(http(html(body))).text
    assert "About us" not in text
    assert "Shelves" in text
    assert "first thing" in text
    assert "def f():\n    return 1" in text


def test_a_page_that_looks_like_a_menu_is_not_left_empty():
    rows = "".join(f"<tr><td><a href=/{n}>Shelf {n}</a></td></tr>" for n in range(20))
    text = page(http(html(f"<nav><table>{rows}</table></nav>"))).text
    assert sum(f"Shelf {n}" in text for n in range(20)) >= 10


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (http(html(PROSE), status=404), "http_status"),
        (http(b"\x89PNG", "image/png"), "content_type"),
        (http(b"{}", "application/json"), "content_type"),
        (http(html("")), "empty"),
        (http(html("Tiny.")), "too_short"),
        (http(b"\x1f\x8b broken", extra="Content-Encoding: gzip\r\n"), "content_encoding"),
        (b"no HTTP at all", "http_status"),
    ],
)
def test_what_is_no_document_has_a_reason(payload: bytes, reason: str):
    assert page(payload).reason == reason


@pytest.mark.parametrize("packed", [gzip.compress, zlib.compress])
def test_compressed_and_chunked_answers_are_unpacked(packed):
    body = packed(html(PROSE))
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    extra = "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"
    assert PROSE.strip() in page(http(chunked, extra=extra)).text


def test_a_compression_bomb_is_refused_before_it_is_unpacked():
    config = CONFIG.model_copy(update={"max_page_bytes": 10_000})
    bomb = http(gzip.compress(b"a" * 5_000_000), extra="Content-Encoding: gzip\r\n")
    one = Record(
        type="response",
        url="u",
        record_id="1",
        date=None,
        content_type="application/http",
        payload=bomb,
    )
    assert extract_page(one, config).reason == "too_large"


def test_source_code_comes_through_as_it_is():
    code = "\tdef f(x):\n\n\n        return x  # ≠\n"
    found = page(code.encode(), kind="resource", content_type="text/x-python")
    assert found.text == code.rstrip()
    converted = page(PROSE.encode(), kind="conversion", content_type="text/plain")
    assert converted.text == PROSE.rstrip()


RUSSIAN = "Все люди рождаются свободными и равными в своем достоинстве и правах. " * 4
GERMAN = "Alle Menschen sind frei und gleich an Würde und Rechten geboren – so heißt es. " * 4
JAPANESE = (
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。" * 4
)


@pytest.mark.parametrize(
    ("text", "charset", "declared"),
    [
        (RUSSIAN, "windows-1251", None),
        (RUSSIAN, "windows-1251", "iso-8859-1"),  # a lie that never fails to decode
        (RUSSIAN, "utf-8", "windows-1252"),
        (GERMAN, "windows-1252", "utf-8"),
        (GERMAN, "utf-16", None),
        (JAPANESE, "shift_jis", "shift_jis"),
        (JAPANESE, "euc_jp", None),
        (JAPANESE, "iso2022_jp", "iso-2022-jp"),
        (GERMAN, "utf-8-sig", "latin-1"),
    ],
)
def test_bytes_count_more_than_what_is_said_of_them(text: str, charset: str, declared: str | None):
    assert decode(text.encode(charset), declared, is_html=False) == text


@given(st.text(st.characters(codec=None), max_size=200))
def test_cleaned_text_can_always_be_written(text: str):
    cleaned = clean_text(text)
    assert cleaned.encode().decode() == cleaned
    assert "\0" not in cleaned
    assert clean_text(cleaned) == cleaned


def test_surrogate_entities_do_no_harm():
    found = page(http(html(f"<p>{PROSE} &#xD800; &#xDC00; &#0; \0 x</p>")))
    found.text.encode()
    assert "\0" not in found.text


@settings(max_examples=50)
@given(st.binary(max_size=300), st.integers(1, 50))
def test_chunking_is_undone(data: bytes, size: int):
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
    assert undo_chunks(chunked, is_claimed=True).data == data


def test_documentation_made_by_pydoc_keeps_its_descriptions():
    import pydoc
    import textwrap

    text = page(http(pydoc.HTMLDoc().page("t", pydoc.HTMLDoc().document(textwrap)).encode())).text
    assert "Wrap a single paragraph of text, returning a list of wrapped lines." in text
    assert "Remove any common leading whitespace from every line in `text`." in text


def test_noise_is_no_text():
    assert page(http(bytes(range(256)) * 40)).reason == "binary"


def test_mutated_pages_get_a_text_or_a_reason(tmp_path):
    rows = fuzz(Pages(None, seed=0), range(60), limit_seconds=30, save=tmp_path)
    assert sum(row.num_violations for row in rows.values()) == 0
    assert len(rows) > 5


def test_a_definition_is_kept_with_its_terms():
    entries = "".join(f"<dt>open_{n}(path)<dt>op{n}<dd>{PROSE}" for n in range(8))
    text = page(http(html(f"<main><h1>Functions</h1><p>{PROSE}<dl>{entries}</dl></main>"))).text
    for n in range(8):
        assert f"open_{n}(path)\nop{n}\n{PROSE.strip()}" in text

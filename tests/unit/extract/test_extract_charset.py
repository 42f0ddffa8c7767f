"""Bytes become the text their author wrote, whatever is said about them."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.extract.charset import (
    LABELS_OF_CODEC,
    clean_text,
    codec_in_markup,
    codec_of_label,
    decode,
)
from tests.charsets import ARTICLE_1, DECLARED_ONLY, LIES, UTF16, Sample, encode, samples

SAMPLES = list(samples(ARTICLE_1.items()))
WIDE = list(samples(ARTICLE_1.items(), UTF16))


def name(value: object) -> str | None:
    return f"{value.language}-{value.label}" if isinstance(value, Sample) else None


def html(sample: Sample, declaration: str) -> tuple[bytes, str]:
    text = f"<html><head>{declaration}</head><body><p>{sample.text}</p></body></html>"
    return encode(text, sample.codec), text


@pytest.mark.parametrize("sample", SAMPLES, ids=name)
def test_text_comes_back_with_its_charset_declared_and_without(sample: Sample):
    assert decode(sample.data, sample.label, is_html=False) == sample.text
    assert decode(sample.data, None, is_html=False) == sample.text


@pytest.mark.parametrize("sample", samples(ARTICLE_1.items(), DECLARED_ONLY), ids=name)
def test_rare_charsets_are_taken_at_their_word(sample: Sample):
    assert decode(sample.data, sample.label, is_html=False) == sample.text


@pytest.mark.parametrize("sample", WIDE, ids=name)
def test_utf16_needs_no_mark(sample: Sample):
    assert decode(sample.data, sample.label, is_html=False) == sample.text
    data, text = html(sample, "")
    for declared in (None, "utf-8", "windows-1252"):
        assert decode(data, declared, is_html=True) == text


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("sample", SAMPLES, ids=name)
def test_a_wrong_declaration_is_found_out(sample: Sample, lie: str):
    assert decode(sample.data, lie, is_html=False) == sample.text


@pytest.mark.parametrize("text", ARTICLE_1.values(), ids=ARTICLE_1)
@pytest.mark.parametrize("lie", [*LIES, "big5", "koi8-r", "utf-16", "x-user-defined", "no such"])
def test_valid_utf8_is_utf8_whatever_is_declared(text: str, lie: str):
    assert decode(text.encode(), lie, is_html=False) == text


@pytest.mark.parametrize("text", ARTICLE_1.values(), ids=ARTICLE_1)
def test_utf8_that_is_cut_or_damaged_stays_utf8(text: str):
    data = (text * 4).encode()
    for declared in (None, "utf-8", "windows-1252", "gb2312"):
        for cut in range(len(data) - 4, len(data)):
            assert (text * 4).startswith(decode(data[:cut], declared, is_html=False))
        damaged = data[:60].decode(errors="ignore").encode() + b"\xff" + data[60:]
        found = decode(damaged, declared, is_html=False)
        assert found.endswith(text * 3)
        assert found.count("\ufffd") <= 4


def test_a_high_byte_at_the_end_may_be_a_cut_or_a_letter():
    assert decode(b"un caf\xe9", None, is_html=False) == "un café"
    assert decode("ça va, café".encode()[:-1], None, is_html=False) == "ça va, caf"
    assert decode("well…".encode()[:-1], "windows-1252", is_html=False) == "well"


@pytest.mark.parametrize(
    ("markup", "codec"),
    [
        (b'<meta charset="windows-1251">', "cp1251"),
        (b"<META CHARSET=koi8-r />", "koi8-r"),
        (b'<meta http-equiv="Content-Type" content="text/html; charset=gb2312">', "gb18030"),
        (b"<meta content='text/html;charset = Shift_JIS' http-equiv=content-type>", "cp932"),
        (b'<?xml version="1.0" encoding="ISO-8859-2"?><html>', "iso8859-2"),
        (b'<!-- <meta charset="koi8-r"> --><meta charset=euc-kr>', "cp949"),
        (b'<meta charset="utf-16">', "utf-8"),  # read as ASCII, so it is not
        (b'<meta name=description content="a charset"><meta charset=latin1>', "cp1252"),
        (b'<meta charset="unicode_escape"><meta charset="big5">', "big5hkscs"),
        (b"<p>charset=koi8-r</p>", None),
        (b"<meta charset=", None),
    ],
)
def test_declarations_in_markup_are_read_as_browsers_read_them(markup: bytes, codec: str | None):
    assert codec_in_markup(markup) == codec
    assert codec_in_markup(b"<!doctype html><head>" + markup) == (
        None if markup.startswith(b"<?xml") else codec
    )


@pytest.mark.parametrize("label", ["rot13", "unicode_escape", "utf-7", "idna", "zlib", "", None])
def test_what_is_no_charset_of_the_web_is_not_tried(label: str | None):
    assert codec_of_label(label) is None
    assert decode(b"caf\xe9 \\u0041 +AGE-", label, is_html=False) == "café \\u0041 +AGE-"


def test_every_label_leads_to_a_codec_that_python_has():
    labels = [label for names in LABELS_OF_CODEC.values() for label in names.split()]
    assert len(labels) == len(set(labels)) > 220
    for codec in LABELS_OF_CODEC:
        codecs.lookup(codec)
    assert codec_of_label(" ISO-8859-1 ") == "cp1252"
    assert codec_of_label("ks_c_5601-1987") == "cp949"


@pytest.mark.parametrize("sample", SAMPLES, ids=name)
@pytest.mark.parametrize("said", ["windows-1252", "utf-8", None])
def test_a_page_whose_meta_is_wrong_or_right(sample: Sample, said: str | None):
    for label in (sample.label, said):
        declaration = f'<meta charset="{label}">' if label else ""
        data, text = html(sample, declaration)
        assert decode(data, None, is_html=True) == text
        assert decode(data, said, is_html=True) == text


def test_marks_of_byte_order_are_believed():
    for codec in ("utf-8-sig", "utf-16", "utf-32"):
        assert decode(ARTICLE_1["jpn"].encode(codec), "koi8-r", is_html=False) == ARTICLE_1["jpn"]
    assert decode(b"\xfe\xff" + "año".encode("utf-16-be"), None, is_html=False) == "año"


def test_utf8_with_some_zero_bytes_is_not_utf16():
    data = ARTICLE_1["rus"].encode()
    for zeros in (b"\0", b"\0" * 64, b"\0a" * 3):
        assert decode(data[:50] + zeros + data[50:], None, is_html=False).endswith("братства.")


def test_vendors_kanji_survive_in_euc_jp():
    text = ARTICLE_1["jpn"] + "①㈱Ⅳ㎏"
    data = ARTICLE_1["jpn"].encode("euc_jp") + b"\xad\xa1\xad\xea\xad\xb8\xad\xd4"
    assert decode(data, "euc-jp", is_html=False) == text


@pytest.mark.parametrize("language", ["deu", "fra", "pol", "rus", "ell", "ara", "jpn", "kor"])
def test_text_encoded_twice_is_mended_where_all_of_it_was(language: str):
    text = ARTICLE_1[language]
    once = "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in text.encode())
    assert decode(once.encode(), "utf-8", is_html=False) == text
    mixed = once + " Añadir"
    assert decode(mixed.encode(), "utf-8", is_html=False) == mixed
    about_it = "An é that looks like Ã© was decoded wrongly."
    assert decode(about_it.encode(), None, is_html=False) == about_it
    spoiled = once[:50] + "\ufffd" + once[50:]
    assert decode(spoiled.encode(), None, is_html=False) == spoiled
    assert decode("Ã© alone".encode(), None, is_html=False) == "Ã© alone"


def test_controls_that_mean_windows_1252_are_mended():
    assert clean_text("\x93It\x92s 5\x80\x94\x81 \x85") == "“It’s 5€” …"
    assert clean_text("a\0\r\nb\rc\ufeff") == "a\nb\nc"


@given(
    st.binary(max_size=200), st.sampled_from([None, *LIES, "utf-16", "big5", "iso-2022-jp", "hz"])
)
def test_noise_is_always_decoded(data: bytes, declared: str | None):
    clean_text(decode(data, declared, is_html=True)).encode()


def test_the_country_in_the_address_decides_where_the_text_cannot():
    data = "Kedves hallgatók! Ő nem késő.".encode("iso-8859-2")
    for url in ("http://a.hu", "https://A.HU:80/x.com", "http://b.hu./?q=a.de"):
        assert decode(data, None, is_html=False, url=url).endswith("Ő nem késő.")
    for url in ("no address", "http://[::1]/", "http://1.2.3.4/", "http://x.рф/"):
        assert decode(data, None, is_html=False, url=url).startswith("Kedves")

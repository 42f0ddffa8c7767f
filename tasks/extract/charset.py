"""Bytes to text: what a page's bytes say counts more than what its headers say.

Pure. In: a body's bytes and the charset its transport declares. Out: text.

Declarations are read as browsers read them (WHATWG Encoding Standard; HTML Standard, 13.2.3), but
are not believed blindly, for many are wrong and a wrong single-byte charset never fails to decode:
a byte order mark is believed; bytes that are valid UTF-8 are UTF-8; a declared charset is believed
unless Firefox's detector (chardetng) names another one under which the text looks better.
"""

import codecs
import re
import unicodedata

from chardetng_py import EncodingDetector

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# Python's codec for each of the standard's charsets, with the standard's labels for it. Only these
# are looked up: Python would also take "rot13" or "unicode_escape" for a charset. The last three
# are refused by browsers (script can hide in them); as text they do no harm.
LABELS_OF_CODEC = {
    "utf-8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8",
    "utf-16-le": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le",
    "utf-16-be": "unicodefffe utf-16be",
    "cp866": "866 cp866 csibm866 ibm866",
    "iso8859-2": "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987"
    " l2 latin2",
    "iso8859-3": "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988"
    " l3 latin3",
    "iso8859-4": "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988"
    " l4 latin4",
    "iso8859-5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5"
    " iso_8859-5:1988",
    "iso8859-6": "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6"
    " iso-8859-6-e iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987",
    "iso8859-7": "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7"
    " iso88597 iso_8859-7 iso_8859-7:1987 sun_eu_greek",
    "iso8859-8": "csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8"
    " iso88598 iso_8859-8 iso_8859-8:1988 visual csiso88598i iso-8859-8-i logical",
    "iso8859-10": "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6",
    "iso8859-13": "iso-8859-13 iso8859-13 iso885913",
    "iso8859-14": "iso-8859-14 iso8859-14 iso885914",
    "iso8859-15": "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9",
    "iso8859-16": "iso-8859-16",
    "koi8-r": "cskoi8r koi koi8 koi8-r koi8_r",
    "koi8-u": "koi8-ru koi8-u",
    "mac-roman": "csmacintosh mac macintosh x-mac-roman",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "cp874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874 cp874",
    "cp1250": "cp1250 windows-1250 x-cp1250",
    "cp1251": "cp1251 windows-1251 x-cp1251",
    "cp1252": "ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1"
    " iso88591 iso_8859-1 iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252 latin-1"
    " x-user-defined",
    "cp1253": "cp1253 windows-1253 x-cp1253",
    "cp1254": "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9"
    " iso_8859-9:1989 l5 latin5 windows-1254 x-cp1254",
    "cp1255": "cp1255 windows-1255 x-cp1255",
    "cp1256": "cp1256 windows-1256 x-cp1256",
    "cp1257": "cp1257 windows-1257 x-cp1257",
    "cp1258": "cp1258 windows-1258 x-cp1258",
    "gb18030": "chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk"
    " gb18030 cp936",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5 cp950",
    "euc_jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso2022_jp_ext": "csiso2022jp iso-2022-jp",
    "cp932": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis cp932",
    "cp949": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989"
    " ks_c_5601 ksc5601 ksc_5601 windows-949 cp949",
    "iso2022_kr": "csiso2022kr iso-2022-kr",
    "hz": "hz-gb-2312",
    "cp437": "cp437 ibm437",
    "cp850": "cp850 ibm850",
}
CODEC_OF_LABEL = {
    label: codec for codec, names in LABELS_OF_CODEC.items() for label in names.split()
}

DEFAULT = "cp1252"  # what servers and editors declare unasked; the commonest lie
# Of these, which the detector does not know, a declaration is the only witness.
NEVER_GUESSED = {
    *("iso8859-3", "iso8859-10", "iso8859-14", "iso8859-15", "iso8859-16", "cp437", "cp850"),
    *("mac-roman", "mac-cyrillic", "hz", "iso2022_kr", "utf-16-le", "utf-16-be"),
}
# Of these, some are worth a try where the guess makes odd text.
RIVALS = ("iso8859-15", "mac-roman", "mac-cyrillic")
MIN_FOREIGN_BYTES = 100  # from so many on the detector is as good a witness as a declaration
PRESCAN_BYTES = 8192  # browsers must show something after 1024; many pages declare later
UTF16_SAMPLE_BYTES = 4096
MIN_UTF16_ZERO_SHARE = 1 / 400  # ideographs have few, in line ends
MIN_UTF16_LOW_SHARE = 0.25
SAMPLE_BYTES = 1 << 14
# By chance up to 0.42 of the characters of a legacy text are valid UTF-8 (Russian in GB 18030); of
# UTF-8 with bad bytes nearly all are.
MIN_UTF8_SHARE = 0.8
MIN_DECLARED_UTF8_SHARE = 0.5
# U+00C2 to U+00F4 and then what windows-1252 makes of a byte from 80 to BF, all in UTF-8.
DOUBLED = re.compile(
    rb"\xc3[\x82-\xb4](?:\xc2[\x80-\xbf]|[\xc5\xc6\xcb].|\xe2[\x80\x82\x84].)", re.S
)
AS_LATIN_1 = {
    ord(char): byte
    for byte in range(0x80, 0xA0)
    for char in bytes([byte]).decode("cp1252", "ignore")
}
MIN_DOUBLED = 2
CUT_REASONS = ("unexpected end of data", "incomplete multibyte sequence", "truncated data")

HIGH_BYTES = bytes(range(0x80, 0x100))
LOW_BYTES = bytes(set(range(0x20)) - {*b"\n\r"})
HIGH_BYTE = re.compile(rb"[\x80-\xff]")
COMMENT_OR_META = re.compile(rb"<!--.*?-->|<meta[\s/]([^>]*)>", re.I | re.S)
META_CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([^\s\"'/>;]+)", re.I)
XML_ENCODING = re.compile(rb"\s*<\?xml\s[^>]*?encoding\s*=\s*[\"']([^\"'>]+)", re.I)
ISO_2022 = re.compile(rb"\x1b\$(?:\([@BDOQ]|[@B]|(\)C))")
TOP_LEVEL_DOMAIN = re.compile(r"https?://[^/?#\s]*\.([a-z]+|xn--[a-z0-9-]+)\.?(?::\d*)?(?:[/?#]|$)")
C1_IN_UTF8 = re.compile(rb"\xc2[\x80-\x9f]")
C1_CONTROL = re.compile("[\x80-\x9f]")

# Signs that a text was read under a wrong charset, each of them rare in any language.
ODD = re.compile(
    "[\ufffd\x00-\x08\x0e-\x1f\x7f-\x9f\ue000-\uf8ff]"  # no characters
    "|[A-Za-z](?:[\u3400-\u9fff\uac00-\ud7a3][A-Za-z]|[\u0370-\u06ff\u0e00-\u0e7f])"
    "|[\u0370-\u06ff\u0e00-\u0e7f][A-Za-z]"  # two scripts in one word
    "|[a-zß-öø-ÿα-ωа-џ][À-ÖØ-ÞΑ-ΩЀ-Я]"  # a capital inside a word
    "|[À-ÖØ-öø-ž]{3}"  # accent upon accent
    "|[^\\W\\d_][¡-©¬-¶¸¹»-¿×÷‚-‰‹›€™\u2500-\u25ff][^\\W\\d_]"  # a sign inside a word
    "|[\uff61-\uff9f](?![\uff61-\uff9f])"  # a half-width kana alone
)


def decode(data: bytes, declared: str | None, *, is_html: bool, url: str = "") -> str:
    """Decode ``data``, whose transport declares the charset ``declared``; never fails.

    The country in ``url`` helps to guess where nothing else does, as in browsers. A character that
    the end of the data cuts is dropped; bytes without a meaning in an otherwise sound text become
    U+FFFD.
    """
    for mark, codec in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _read(data[len(mark) :], codec)
    if b"\0" in data[:UTF16_SAMPLE_BYTES] and (wide := _utf16_codec(data)):
        return _read(data, wide)
    if b"\x1b" in data and data.isascii() and (escape := ISO_2022.search(data)):
        return _read(data, "iso2022_kr" if escape.group(1) else "iso2022_jp_ext")
    try:
        return _undouble(data, data.decode())
    except UnicodeDecodeError as error:
        sound = data[: error.start]
        is_cut = error.end == len(data) and error.reason in CUT_REASONS
        # One high byte that ends a text in ASCII may as well be the é of a windows-1252 "café".
        if is_cut and not (sound.isascii() and error.end - error.start == 1):
            return _undouble(sound, sound.decode())
    return _read(data, _choose_codec(data, declared, is_html, url))


def codec_of_label(label: str | None) -> str | None:
    """Python's codec for a charset's label as browsers understand it; None if they know none."""
    return CODEC_OF_LABEL.get(label.strip().lower()) if label else None


def codec_in_markup(data: bytes) -> str | None:
    """The codec that an XML declaration or a meta element names (HTML Standard, "prescan")."""
    head = data[:PRESCAN_BYTES]
    xml = XML_ENCODING.match(head)
    metas = (META_CHARSET.search(meta.group(1) or b"") for meta in COMMENT_OR_META.finditer(head))
    for found in filter(None, (xml, *metas)):
        if codec := codec_of_label(found.group(1).decode("latin-1")):
            # What could be read as ASCII cannot be UTF-16; browsers take it for UTF-8.
            return "utf-8" if codec.startswith("utf-16") else codec
    return None


def clean_text(text: str) -> str:
    """Drop NULs and byte order marks, mend surrogates and C1 controls, use one kind of line end.

    U+0080 to U+009F come from pages (and character references) that mean windows-1252.
    """
    for unusable in "\0\ufeff\ufffe\uffff":
        if unusable in text:
            text = text.replace(unusable, "")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        data = text.encode()
    except UnicodeEncodeError:  # references may name halves of characters, which no file can hold
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        data = text.encode()
    if C1_IN_UTF8.search(data):  # far faster in bytes
        text = C1_CONTROL.sub(
            lambda c: c.group().encode("latin-1").decode("cp1252", "ignore"), text
        )
    return text


def _undouble(data: bytes, text: str) -> str:
    """Undo UTF-8 that was taken for windows-1252 and encoded again, if the whole text was.

    Safe, for one rightly encoded foreign character is enough to leave a text alone, and so are
    fewer than MIN_DOUBLED of the others, which may speak of the matter.
    """
    first = None if text.isascii() else HIGH_BYTE.search(data)
    if not first or not DOUBLED.match(data, first.start()):
        return text
    try:
        single = text.translate(AS_LATIN_1).encode("latin-1").decode()
    except UnicodeError:
        return text
    return single if _num_foreign(single) >= MIN_DOUBLED else text


def _utf16_codec(data: bytes) -> str | None:
    """UTF-16 without a mark: the zero bytes of its spaces and markup are on one side mostly."""
    sample = data[:UTF16_SAMPLE_BYTES]
    few, many = sorted((sample[::2].count(0), sample[1::2].count(0)))
    if many < max(2, MIN_UTF16_ZERO_SHARE * len(sample)) or 2 * few > many:
        return None
    if _utf8_share(sample) >= MIN_UTF8_SHARE:
        # Not UTF-8 with stray zeros, but every second byte the number of an alphabet.
        num_low = len(sample) - len(sample.translate(None, LOW_BYTES))
        if not sample.isascii() or num_low < MIN_UTF16_LOW_SHARE * len(sample):
            return None
    codec = "utf-16-le" if sample[1::2].count(0) == many else "utf-16-be"
    return None if "\ufffd" in _read(sample, codec) else codec


def _choose_codec(data: bytes, declared: str | None, is_html: bool, url: str) -> str:
    """The codec of bytes that are neither wide nor wholly UTF-8."""
    candidates = [codec_of_label(declared), codec_in_markup(data) if is_html else None]
    foreign = HIGH_BYTE.search(data)
    start = max(0, foreign.start() - 1) if foreign else 0
    sample = data[start : start + SAMPLE_BYTES]
    is_declared = "utf-8" in candidates
    if _utf8_share(sample) >= (MIN_DECLARED_UTF8_SHARE if is_declared else MIN_UTF8_SHARE):
        return "utf-8"
    best = _guess(sample, url)
    least = _oddness(sample, best)
    for codec in filter(None, candidates):
        oddness = _oddness(sample, codec)
        if codec != "utf-8" and (
            oddness < least or (oddness == least and _outweighs(codec, sample))
        ):
            return codec
    return min((best, *RIVALS), key=lambda codec: _oddness(sample, codec)) if least else best


def _outweighs(declared: str, sample: bytes) -> bool:
    """Whether a declaration counts more than the detector's guess, the text being no odder."""
    num_foreign = len(sample) - len(sample.translate(None, HIGH_BYTES))
    return declared in NEVER_GUESSED or (declared != DEFAULT and num_foreign < MIN_FOREIGN_BYTES)


def _utf8_share(sample: bytes) -> float:
    """Which share of the characters that are not ASCII can be read as UTF-8."""
    text = sample.decode("utf-8", "replace")
    return 1 - text.count("\ufffd") / max(1, _num_foreign(text))


def _guess(sample: bytes, url: str) -> str:
    detector = EncodingDetector()
    detector.feed(sample, last=False)
    tld = TOP_LEVEL_DOMAIN.match(url.lower())
    label = detector.guess(tld=tld.group(1).encode() if tld else None, allow_utf8=False)
    return CODEC_OF_LABEL.get(label.lower(), label)


def _oddness(sample: bytes, codec: str) -> int:
    """How many signs of a wrong charset there are to a hundred of the text's foreign letters."""
    text = _read(sample, codec)
    return round(100 * len(ODD.findall(text)) / max(1, _num_foreign(text)))


def _num_foreign(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))


def _read(data: bytes, codec: str) -> str:
    """Decode; a character cut by the end is dropped, other nonsense becomes U+FFFD."""
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        if error.end == len(data) and error.reason in CUT_REASONS:
            data = data[: error.start]
        text = data.decode(codec, "eucjp_ms" if codec == "euc_jp" else "replace")
    return unicodedata.normalize("NFC", text) if codec == "cp1258" else text


def _read_vendor_kanji(error: UnicodeError) -> tuple[str, int]:
    """Error handler for EUC-JP: vendors' characters (①, ㈱) that only Shift_JIS's codec knows."""
    assert isinstance(error, UnicodeDecodeError)
    row, cell = (
        byte - 0xA0 for byte in error.object[error.start : error.start + 2].ljust(2, b"\0")
    )
    if not (1 <= row <= 94 and 1 <= cell <= 94):
        return "\ufffd", error.end
    first = (row - 1) // 2 + (0x81 if row < 63 else 0xC1)
    second = cell + 0x9E if row % 2 == 0 else cell + (0x3F if cell < 64 else 0x40)
    return bytes((first, second)).decode("cp932", "replace"), error.start + 2


codecs.register_error("eucjp_ms", _read_vendor_kanji)

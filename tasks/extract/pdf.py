"""PDF to text: lines to paragraphs, in the order in which the file draws them.

Native code (PDFium) does the reading, so it belongs in the guarded child. In: a file's bytes. Out:
its text and what it says of itself. The order of drawing is the order of reading in what
typesetting programs write, columns included. Words that were divided at a line's end are joined
where the document itself, or the letters around the hyphen, say so; heads and feet that run through
the pages are left out.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pypdfium2

from tasks.extract.body import Refused
from tasks.extract.charset import clean_text
from tasks.extract.described import iso_day
from tasks.extract.metadata import Metadata

MAX_PAGES = 2000
MIN_REPEATS = 3  # of a line at the head or foot of pages, before it is taken for a running one
MIN_REPEAT_SHARE = 0.2
EDGE_LINES = 2  # at a page's head and foot that may be running ones
MAX_UNREADABLE_SHARE = 0.2
LINE_END_HYPHEN = "\ufffe"  # what PDFium writes for it, in place of a line end
LINE = re.compile(rf"([^\r\n{LINE_END_HYPHEN}]*)(\r?\n|\r|{LINE_END_HYPHEN}|\Z)")
LIST_MARK = re.compile(r"(?:[•▪◦‣●■–—*-]|\(?\d{1,3}[.)]|\(?[a-z]\))\s")
MAX_LEADING = 1.9  # from line to line, in heights of a line's ink
MAX_TYPE_RATIO = 1.6
MAX_WORD_GAP = 2.5
MIN_FULL_SHARE = 0.85
MAX_REMEMBERED_LINES = 50  # of a paragraph, to know how wide it is
PAGE_NUMBER = re.compile(r"^\d{1,4}(?=\s|$)|(?<=\s)\d{1,4}$")
OPEN_HYPHEN = re.compile(r"\w-\Z")  # one that PDFium takes for the word's own, as in 1914-1918
UNREADABLE = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd]")
NO_TITLE = re.compile(r"(?i)untitled.*|microsoft \w+ - .*|.*\.(?:docx?|dvi|tex|pdf|indd|rtf|pptx?)")
ENDS_SENTENCE = re.compile(r"[.!?:;。！？][\"'”’)\]]*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line as it stands on its page; lengths in points, from the page's lower left corner."""

    text: str
    left: float = 0.0
    bottom: float = 0.0
    right: float = 0.0
    top: float = 0.0
    is_divided: bool = False  # its last word goes on in the next line
    is_row: bool = False  # wide gaps: cells of a table, or a number at the margin

    @property
    def height(self) -> float:
        """From the lowest to the highest ink."""
        return max(self.top - self.bottom, 1.0)


def pdf_text(data: bytes) -> tuple[str, Metadata]:
    """The text and the metadata of a PDF.

    Raises:
        Refused: encrypted, damaged, too_many_pages, no_text_layer or unreadable_text.
    """
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        reason = "encrypted" if "assword" in str(error) else "damaged_pdf"
        raise Refused(reason, str(error)) from error
    try:
        if len(document) > MAX_PAGES:
            raise Refused("too_many_pages", f"{len(document)} pages, at most {MAX_PAGES}")
        pages = [_lines(document, index) for index in range(len(document))]
        metadata = _metadata(document.get_metadata_dict())
    finally:
        document.close()
    text = clean_text(join_pages(pages))
    if not text:
        raise Refused("no_text_layer", f"{len(pages)} pages, none with text; images need OCR")
    if len(UNREADABLE.findall(text)) > MAX_UNREADABLE_SHARE * len(text):
        raise Refused("unreadable_text", "its fonts do not say which characters they draw")
    return text, metadata


def _metadata(stated: dict[str, str]) -> Metadata:
    title = " ".join(clean_text(stated.get("Title", "")).split())
    author = " ".join(clean_text(stated.get("Author", "")).split())
    created = stated.get("CreationDate", "").removeprefix("D:")
    return Metadata(
        title=None if NO_TITLE.fullmatch(title) else title or None,
        author=author or None,
        date=iso_day(created[:8]),
    )


def _lines(document: pypdfium2.PdfDocument, index: int) -> list[Line]:
    """The lines of one page; a page that PDFium cannot read has none."""
    try:
        page = document[index]
    except pypdfium2.PdfiumError:
        return []
    text_page = page.get_textpage()
    try:
        found = LINE.finditer(text_page.get_text_range())
        return [_line(text_page, line) for line in found if line[1].strip()]
    finally:
        text_page.close()
        page.close()


def _line(text_page: pypdfium2.PdfTextPage, found: re.Match[str]) -> Line:
    """A line with its place; characters of a page are numbered as in its text."""
    num_boxes = text_page.count_rects(found.start(1), len(found[1]))
    boxes = [text_page.get_rect(box) for box in range(num_boxes)]
    line = Line(text=" ".join(found[1].split()), is_divided=found[2] == LINE_END_HYPHEN)
    if not boxes:
        return line
    lefts, bottoms, rights, tops = zip(*boxes, strict=True)
    line = replace(line, left=min(lefts), bottom=min(bottoms), right=max(rights), top=max(tops))
    gaps = (left - right for left, right in zip(lefts[1:], rights, strict=False))
    return replace(line, is_row=any(gap > MAX_WORD_GAP * line.height for gap in gaps))


def join_pages(pages: Sequence[Sequence[Line]]) -> str:
    """Paragraphs of the pages' lines, without what runs through their heads and feet."""
    lines = [line for page in _without_running(pages) for line in page]
    lines = lines or [line for page in pages for line in page]  # a form, say, all pages alike
    words = Counter(word for line in lines for word in _words(line.text))
    pieces: list[str] = []
    paragraph: list[Line] = []
    for line in lines:
        gap = _gap(paragraph, line) if paragraph else ""
        if paragraph and paragraph[-1].is_divided:
            pieces.append(_joined(pieces.pop(), line.text, words))
        else:
            ends_open = bool(pieces) and OPEN_HYPHEN.search(pieces[-1])
            pieces += [gap or (" " if paragraph and not ends_open else ""), line.text]
        paragraph = [line] if gap else [*paragraph[-MAX_REMEMBERED_LINES:], line]
    return "".join(pieces)


def _without_running(pages: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """Leave out heads and feet: lines at an edge that come again, or that count the pages."""
    seen = Counter(sign for index, page in enumerate(pages) for sign in _signs(index, page))
    least = max(MIN_REPEATS, MIN_REPEAT_SHARE * len(pages))
    running = {sign for sign, count in seen.items() if count >= least}
    kept = []
    for index, page in enumerate(pages):
        signs = _signs(index, page)
        gone = {place for sign, place in signs.items() if sign in running}
        kept.append([line for place, line in enumerate(page) if place not in gone])
    return kept


def _signs(index: int, page: Sequence[Line]) -> dict[tuple[str, object], int]:
    """What may be said again at the edges of other pages, and the line of this page that says it.

    A head with changing words is known by its number, which grows with the page's.
    """
    lines = range(len(page))
    places = [("head", place) for place in lines[:EDGE_LINES]]
    places += [("foot", place) for place in lines[-EDGE_LINES:]]
    signs: dict[tuple[str, object], int] = {}
    for edge, place in places:
        text = page[place].text
        signs[edge, re.sub(r"\d+|\b[ivxlc]+\b", "#", text)] = place
        if number := PAGE_NUMBER.search(text):
            signs[edge, int(number[0]) - index] = place
    return signs


def _gap(before: Sequence[Line], line: Line) -> str:
    """What stands between the lines of a paragraph and the next: nothing if that goes on."""
    last = before[-1]
    if last.is_divided:
        return ""
    if line.bottom > last.bottom:  # a next column or page
        return "" if _goes_on(last.text, line.text) and not line.is_row else "\n\n"
    height = (last.height + line.height) / 2
    is_apart = last.bottom - line.bottom > MAX_LEADING * height
    is_other_type = max(last.height, line.height) > MAX_TYPE_RATIO * min(last.height, line.height)
    if is_apart or is_other_type:
        return "\n\n"
    if last.is_row or line.is_row or LIST_MARK.match(line.text):
        return "\n"
    left = min(other.left for other in [*before[1:], line])
    right = max(other.right for other in [*before, line])
    is_full = last.right - left >= MIN_FULL_SHARE * (right - left)
    is_indented = line.left - left > height and line.left - last.left > height
    return "" if is_full and not is_indented else "\n"


def _goes_on(last: str, line: str) -> bool:
    return not ENDS_SENTENCE.search(last) and line[:1].islower()


def _joined(text: str, line: str, words: Counter[str]) -> str:
    """Join a word that was divided at a line's end, with its hyphen where that is its own."""
    first, second = re.search(r"[\w-]*\Z", text), re.match(r"[\w-]*", line)
    assert first and second
    whole, hyphened = (first[0] + second[0]).lower(), f"{first[0]}-{second[0]}".lower()
    if words[whole] or words[hyphened]:
        is_division = words[whole] >= words[hyphened]
    else:
        is_division = first[0][-1:].isalpha() and second[0][:1].islower()
    return text + line if is_division else f"{text}-{line}"


def _words(text: str) -> list[str]:
    return [word.lower() for word in re.findall(r"\w[\w-]*", text)]

"""PDF: paragraphs as a reader sees them, metadata, and reasons for having no text."""

import io

import matplotlib
import pytest
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from tasks.extract import pdf as pdf_module
from tasks.extract.body import Refused
from tasks.extract.config import ExtractConfig
from tasks.extract.guard import Guard
from tasks.extract.page import extract_page
from tasks.extract.pdf import pdf_text
from tasks.extract.records import Record
from tests.unit.extract.pdf_fixtures import paragraph, pdf


def text_of(*pages, **fields):
    return pdf_text(pdf(pages, **fields))[0]


def test_lines_become_paragraphs():
    page = [
        *paragraph(
            "The first paragraph has several lines that are all about as",
            "wide as the column and of which only the last one is not so,",
            "since there it ends.",
            "A second one begins on a new line after a short one, as is",
            "done in many books.",
        ),
        *paragraph("Heading", top=600),
        *paragraph("More text.", top=570),
    ]
    assert text_of(page) == (
        "The first paragraph has several lines that are all about as wide as the column and of "
        "which only the last one is not so, since there it ends.\n"
        "A second one begins on a new line after a short one, as is done in many books.\n\n"
        "Heading\n\nMore text."
    )


def test_columns_are_read_one_after_the_other():
    left = paragraph("The left column goes down to", "the foot of the page and then")
    right = paragraph("goes on in the right column", "until it ends.", left=320)
    assert text_of([*left, *right]) == (
        "The left column goes down to the foot of the page and then goes on in the right column "
        "until it ends."
    )


def test_divided_words_are_joined_where_that_is_safe():
    text = text_of(
        paragraph(
            "A well-known thing: the tokeni-",
            "zation of text, which is a well-",
            "known step, as in the Franco-",
            "German war or in the year 1914-",
            "1918, and tokenization again.",
        )
    )
    assert text == (
        "A well-known thing: the tokenization of text, which is a well-known step, as in the "
        "Franco-German war or in the year 1914-1918, and tokenization again."
    )


def test_running_heads_and_page_numbers_go():
    pages = [
        [
            (50, 780, f"Chapter {'about' * (number // 3)} {number}"),
            (50, 700, f"Text of page {chr(97 + number)} with words."),
            (300, 30, str(number + 7)),
        ]
        for number in range(9)
    ]
    text = text_of(*pages)
    assert "Chapter" not in text
    assert (
        text.split()
        == " ".join(f"Text of page {chr(97 + number)} with words." for number in range(9)).split()
    )


def test_lists_and_rows_keep_their_lines():
    items = paragraph(
        "- one thing that is listed", "- another thing is listed", "1. and a third one"
    )
    rows = [(x, 500 - 14 * y, f"cell{y}{x}") for y in range(3) for x in (50, 250, 450)]
    assert text_of([*items, *rows]) == (
        "- one thing that is listed\n- another thing is listed\n1. and a third one\n\n"
        "cell050 cell0250 cell0450\ncell150 cell1250 cell1450\ncell250 cell2250 cell2450"
    )


def test_metadata():
    info = "/Title (On Things) /Author (A. B.) /CreationDate (D:20240203101112+01'00')"
    stated = pdf_text(pdf([paragraph("x")], info=info))[1]
    assert (stated.title, stated.author, stated.date) == ("On Things", "A. B.", "2024-02-03")
    stated = pdf_text(pdf([paragraph("x")], info="/Title (Microsoft Word - thesis.doc)"))[1]
    assert (stated.title, stated.author, stated.date) == (None, None, None)


ENCRYPT = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O <{'ab' * 32}> /U <{'cd' * 32}> /P -4 >> "
NAMED = f"/ID [<{'ef' * 16}> <{'ef' * 16}>]"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pdf([[], []]), "no_text_layer"),
        (pdf([paragraph("x")], trailer=ENCRYPT + NAMED), "encrypted"),
        (b"%PDF-1.4\nnothing of the kind", "damaged_pdf"),
        (b"", "damaged_pdf"),
        (pdf([[(9, 9, "x")]] * 5), "too_many_pages"),
    ],
)
def test_what_has_no_text_has_a_reason(data, reason, monkeypatch):
    monkeypatch.setattr(pdf_module, "MAX_PAGES", 4)
    with pytest.raises(Refused) as refused:
        pdf_text(data)
    assert refused.value.reason == reason


def test_a_pdf_of_another_program_gives_the_words_that_were_put_in():
    words = "Grüße aus Köln, 1234 naïve façades"
    out = io.BytesIO()
    with (
        matplotlib.rc_context({"pdf.fonttype": 42}),
        PdfPages(out, metadata={"Title": "Tïtle"}) as file,
    ):
        figure = Figure(figsize=(8, 11))
        figure.text(0.1, 0.5, words)
        file.savefig(figure)
    text, stated = pdf_text(out.getvalue())
    assert (text, stated.title) == (words, "Tïtle")


def _record(data: bytes) -> Record:
    return Record(
        type="resource",
        url="file://notes/a.pdf",
        record_id="1",
        date=None,
        content_type="application/pdf",
        payload=data,
    )


def test_damage_anywhere_costs_one_document_and_no_crash():
    whole = pdf([paragraph("The text of this page is long enough to be kept as a document.")] * 3)
    config = ExtractConfig(source="s", min_chars=1)
    with Guard(
        "tasks.extract.page:extract_page", config, timeout_seconds=20, max_memory_bytes=10**9
    ) as guard:
        for place in range(0, len(whole), 37):
            broken = whole[:place] + b"\xff" + whole[place + 1 :]
            assert guard.call(_record(broken)).reason in {
                None, "damaged_pdf", "no_text_layer", "unreadable_text", "encrypted"
            }  # fmt: skip
    assert "long enough" in extract_page(_record(whole), config).text

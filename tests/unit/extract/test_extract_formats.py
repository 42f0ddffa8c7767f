"""LaTeX, Markdown and described records: the text that was meant, and what is known of it."""

import pytest

from tasks.extract.config import ExtractConfig
from tasks.extract.described import described, fetched_at, iso_day
from tasks.extract.latex import latex_text
from tasks.extract.page import extract_page
from tasks.extract.records import Headers, Record

PAPER = r"""\documentclass{article} % a class
% a whole line
\newcommand{\R}{\mathbb{R}}
\title[Short]{On \emph{All} Things~\thanks{with help}}
\author{A. B.\thanks{x} \and C. D.}
\begin{document}
\maketitle
Half is 50\% of it. % gone
  % gone with its line
A line \\% gone
\begin{verbatim}
100 % kept
\end{verbatim}
\begin{comment}
hidden
\end{comment}
Code \verb|a % b| stays, \verb+c%+ too. % gone

\[ x \in \R \]
\end{document}
afterwards
"""


def test_latex_keeps_its_markup_and_loses_what_is_hidden():
    text, stated = latex_text(PAPER)
    assert text == (
        "\\maketitle\nHalf is 50\\% of it.\nA line \\\\\n\\begin{verbatim}\n100 % kept\n"
        "\\end{verbatim}\nCode \\verb|a % b| stays, \\verb+c%+ too.\n\n\\[ x \\in \\R \\]"
    )
    assert (stated.title, stated.author) == ("On All Things", "A. B.; C. D.")


def test_a_part_of_a_latex_work_is_taken_whole():
    text, stated = latex_text("\\section{One} % note\nText \\input{two}\n")
    assert text == "\\section{One}\nText \\input{two}"
    assert stated.title is None


def record(content_type: str, payload: bytes, **headers: str) -> Record:
    return Record(
        type="resource",
        url="file://notes/a",
        record_id="1",
        date="1970-01-01T00:00:00Z",
        content_type=content_type,
        payload=payload,
        headers=Headers((name.replace("_", "-"), value) for name, value in headers.items()),
    )


@pytest.mark.parametrize(
    ("content_type", "payload", "text", "title"),
    [
        ("text/x-tex", PAPER.replace("Half", "Hälfte").encode("latin-1"), "Hälfte is",
         "On All Things"),
        ("text/x-wiki", b"'''x''' [[y|z]] {{gone}}", "x z", None),
        ("text/markdown", b"---\ntitle: \"A: b\"\n---\n# Heading\n\ntext", "# Heading", "A: b"),
        ("text/markdown", b"text\n\n# Heading #\n", "text\n\n# Heading #", "Heading"),
        ("text/markdown", b"---\nno front matter\n", "---\nno front matter", None),
        ("text/x-wiki", b"x &#xD800; &#0; <pre>&#xD800;</pre> y", "\n\n\ufffd\n\n y", None),
        ("text/x-python", b"\tx = 1\n", "\tx = 1", None),
    ],
)  # fmt: skip
def test_each_kind_of_file_has_its_reader(content_type, payload, text, title):
    page = extract_page(record(content_type, payload), ExtractConfig(source="s", min_chars=1))
    assert text in page.text
    assert page.metadata.title == title


def test_hidden_namespaces_are_those_that_the_record_names():
    found = record("text/x-wiki", b"a [[Datei:B.xyz|c]] d", X_Wiki_Hidden_Namespaces="Datei|X")
    assert extract_page(found, ExtractConfig(source="s", min_chars=1)).text == "a d"


def test_a_records_own_fields_become_columns():
    known = record(
        "text/plain",
        b"",
        X_Title="T",
        X_Author="A",
        X_Date="2024-02-03T04:05:06Z",
        X_Language="pt_BR",
        X_Licence="MIT",
        X_Item_Id="7",
    )
    assert described(known) == {
        "title": "T",
        "author": "A",
        "date": "2024-02-03",
        "declared_language": "pt-BR",
        "licence": "MIT",
    }
    assert (
        described(record("text/plain", b"", X_Date="some day", X_Language="English, I think")) == {}
    )
    assert fetched_at(known) is None


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-02-29", "2024-02-29"),
        ("2023-02-29", None),
        ("20240203", "2024-02-03"),
        ("202402031234", None),
        ("2024", None),
        ("", None),
    ],
)
def test_days(text, day):
    assert iso_day(text) == day

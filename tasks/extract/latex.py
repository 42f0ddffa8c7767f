"""LaTeX as a source of text: the source itself, without what its author hid.

Pure. In: the text of a .tex file. Out: the body of the document as LaTeX, since that is how models
read and write mathematics; no comments, and of the preamble only what it says of the document.
"""

import re

from tasks.extract.metadata import Metadata

# Within these a percent sign is a percent sign; \verb within a line is looked for there.
VERBATIM = re.compile(
    r"\\begin\{(verbatim\*?|Verbatim|lstlisting|minted|alltt)\}.*?(?:\\end\{\1\}|\Z)", re.S
)
HIDDEN = re.compile(r"^[ \t]*\\begin\{comment\}.*?^[ \t]*\\end\{comment\}[^\n]*\n?", re.S | re.M)
BODY_START = re.compile(r"\\begin\s*\{document\}")
BODY_END = re.compile(r"\\end\s*\{document\}")
COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%.*")
INLINE_VERBATIM = re.compile(r"\\(?:verb\*?|lstinline)([^\w\s*{]).*?\1")
FIELD = r"\\%s\s*(?:\[[^\]]*\])?\s*\{((?:[^{}]|\{[^{}]*\}){1,2000})\}"
MAX_PREAMBLE_CHARS = 200_000


def latex_text(source: str) -> tuple[str, Metadata]:
    """The body of a LaTeX source and what it says of itself."""
    source = _without_comments(source)
    start = BODY_START.search(source)
    body = source[start.end() :] if start else source
    if end := BODY_END.search(body):
        body = body[: end.start()]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in body.split("\n")))
    head = source[:MAX_PREAMBLE_CHARS]
    return text.strip("\n"), Metadata(title=_field("title", head), author=_field("author", head))


def _without_comments(source: str) -> str:
    """Strip comments outside of verbatim text; a line that was all comment goes whole."""
    out: list[str] = []
    position = 0
    for verbatim in VERBATIM.finditer(source):
        out.append(_strip(source[position : verbatim.start()]))
        out.append(verbatim[0])
        position = verbatim.end()
    return "".join([*out, _strip(source[position:])])


def _strip(source: str) -> str:
    lines = []
    for line in HIDDEN.sub("", source).split("\n"):
        stripped = _strip_line(line) if "%" in line else line
        if stripped.strip() or not line.strip():
            lines.append(stripped)
    return "\n".join(lines)


def _strip_line(line: str) -> str:
    for verbatim in INLINE_VERBATIM.finditer(line):
        comment = COMMENT.search(line, 0, verbatim.start())
        if comment:
            return line[: comment.end(1)]
        rest = line[verbatim.end() :]
        return line[: verbatim.end()] + _strip_line(rest)
    return COMMENT.sub(r"\1", line)


def _field(name: str, head: str) -> str | None:
    found = re.search(FIELD % name, head)
    if not found:
        return None
    value = re.sub(r"\\(?:thanks|footnote|inst)\s*\{[^{}]*\}", "", found[1])
    value = re.sub(r"\s*\\and\b\s*", "; ", value)
    value = re.sub(r"\\\\(?:\[[^\]]*\])?|~", " ", value)
    value = re.sub(r"\\[A-Za-z]+\*?\s?|[{}$]", "", value)
    return " ".join(value.split()) or None

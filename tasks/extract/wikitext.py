"""MediaWiki markup to text: what a reader of the article reads.

Pure. In: wikitext as dumps hold it. Out: paragraphs, headings, lists and tables as plain lines;
formulas as TeX between dollar signs and code as it was written; no references, images, categories,
infoboxes and other templates, except those that stand for words in a sentence.

The parser (mwparserfromhell) takes time beyond all measure over brackets that nobody closes, so
these are taken out first, in one linear pass, and with them the templates that give no text.
"""

import html
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import mwparserfromhell
from mwparserfromhell.nodes import (
    ExternalLink,
    Heading,
    HTMLEntity,
    Node,
    Tag,
    Template,
    Text,
    Wikilink,
)
from mwparserfromhell.wikicode import Wikicode

# Signs of our own while a text is worked on; they are in no text that can be published.
VERBATIM, ITEM, HEADING, GONE = "\ue000", "\ue001", "\ue002", "\ue003"
OUR_SIGNS = dict.fromkeys(map(ord, (VERBATIM, ITEM, HEADING, GONE)))
MAX_NESTING = 20  # of templates; deeper ones are taken out with what is in them

COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.S)
VERBATIM_TAGS = ("nowiki", "pre", "syntaxhighlight", "source", "math", "chem", "ce")
DROPPED_TAGS = (
    "ref",
    "references",
    "gallery",
    "timeline",
    "imagemap",
    "templatestyles",
    "score",
    "graph",
    "mapframe",
    "maplink",
    "hiero",
    "inputbox",
)
OPAQUE_TAGS = "|".join((*VERBATIM_TAGS, *DROPPED_TAGS))
TAG = re.compile(rf"<(/?)({OPAQUE_TAGS})\b([^<>]*)>", re.I)
BROKEN_TAG = re.compile(rf"</?(?:{OPAQUE_TAGS})\b[^<>\n]*", re.I)
BROKEN_BRACKET = re.compile(r"<(?=[A-Za-z/][^<>]*(?:<|\Z))")  # begins a tag that never ends
PARAMETER = re.compile(r"\{\{\{[^{}|]*(?:\|([^{}]*))?\}\}\}")
MAGIC_WORD = re.compile(r"__[A-Z]+__")
BRACKETS = re.compile(r"\{\{|\}\}|\[\[|\]\]")
PARTNER = {"}}": "{{", "]]": "[["}
MEDIA_NAME = re.compile(r"\.(?:jpe?g|png|svg|gif|webp|tiff?|og[gva]|webm|mp[34]|pdf|djvu)$", re.I)
OTHER_WIKI = re.compile(r"[a-z]{2,3}(?:-[a-z]+)?:\S")
HIDDEN_TABLE = re.compile(r"infobox|navbox|sidebar|metadata|ambox|succession|toccolours", re.I)
HIDDEN_STYLE = re.compile(r"display\s*:\s*none", re.I)
ENGLISH_NAMESPACES = ("file", "image", "media", "category")
BLOCK_TAGS = {"p", "div", "center", "blockquote", "poem", "section", "dl", "ol", "ul"}


def wiki_text(source: str, hidden_namespaces: Collection[str] = ()) -> str:
    """The text of an article.

    Args:
        source: its wikitext.
        hidden_namespaces: the wiki's own names for files and categories, besides the English ones.
    """
    kept = _Verbatim()
    source = without_tags(COMMENT.sub("", source.translate(OUR_SIGNS)), kept)
    source = BROKEN_BRACKET.sub("&lt;", MAGIC_WORD.sub("", source))
    source = without_templates(PARAMETER.sub(r"\1", source))
    writer = _Writer({*ENGLISH_NAMESPACES, *(name.lower() for name in hidden_namespaces)})
    return kept.give_back(_tidy(writer.text(mwparserfromhell.parse(source))))


@dataclass
class _Verbatim:
    """Pieces that are no wikitext: taken out before parsing, put back into the finished text."""

    pieces: list[str] = field(default_factory=list)

    def take(self, tag: str, attributes: str, content: str) -> str:
        """Keep the content of a tag; what to write in its place until the end."""
        if tag == "nowiki":
            piece = html.unescape(content)
        elif tag in {"math", "chem", "ce"}:
            tex = " ".join(content.split())
            tex = tex if tag == "math" else f"\\ce{{{tex}}}"
            piece = f"$${tex}$$" if "block" in attributes else f"${tex}$"
        else:
            code = html.unescape(content) if tag == "pre" else content
            is_inline = "inline" in attributes or (tag != "pre" and "\n" not in code.strip())
            piece = code.strip() if is_inline else "\n\n" + code.strip("\n").rstrip() + "\n\n"
        self.pieces.append(piece)
        return f"{VERBATIM}{len(self.pieces) - 1}{VERBATIM}"

    def give_back(self, text: str) -> str:
        text = re.sub(f"{VERBATIM}(\\d+){VERBATIM}", lambda n: self.pieces[int(n[1])], text)
        return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


def without_tags(source: str, kept: _Verbatim) -> str:
    """Take out what stands in tags whose content is no wikitext, in one linear pass."""
    tags = list(TAG.finditer(source))
    last_close = {tag[2].lower(): tag.start() for tag in tags if tag[1]}
    out: list[str] = []
    position = 0
    opened: re.Match[str] | None = None
    for tag in tags:
        name, is_close, is_empty = tag[2].lower(), bool(tag[1]), tag[3].endswith("/")
        if opened and is_close and name == opened[2].lower():
            if name in VERBATIM_TAGS:
                content = source[opened.end() : tag.start()]
                out.append(kept.take(name, opened[3].lower(), content))
            position, opened = tag.end(), None
        elif not opened or (name == "ref" == opened[2].lower() and not is_empty):
            # a second <ref> in an open one: the first was never closed
            out.append(source[position : tag.start()])
            position = tag.end()
            will_close = last_close.get(name, -1) > tag.start()
            opened = tag if will_close and not is_close and not is_empty else None
    return BROKEN_TAG.sub("", "".join([*out, source[position:]]))


def without_templates(source: str) -> str:
    """Take out the templates that stand for no words, and brackets that nobody closes."""
    out: list[str] = []
    position = 0
    for start, end, is_template in _spans(source):
        if start < position:
            continue
        out.append(source[position:start])
        out.append(GONE if is_template else "")
        position = end
    return "".join([*out, source[position:]])


def _spans(source: str) -> list[tuple[int, int, bool]]:
    """What to take out: (start, end, is a template), in order, those within others after them."""
    spans: list[tuple[int, int, bool]] = []
    waiting: list[tuple[str, int]] = []
    num_waiting = {"{{": 0, "[[": 0}
    for found in BRACKETS.finditer(source):
        bracket = found[0]
        if bracket not in PARTNER:
            waiting.append((bracket, found.start()))
            num_waiting[bracket] += 1
        elif num_waiting[PARTNER[bracket]]:
            while waiting[-1][0] != PARTNER[bracket]:
                unclosed, start = waiting.pop()
                num_waiting[unclosed] -= 1
                spans.append((start, start + 2, False))
            _, start = waiting.pop()
            num_waiting[PARTNER[bracket]] -= 1
            is_deep = num_waiting[PARTNER[bracket]] > MAX_NESTING
            if is_deep or (bracket == "}}" and not _gives_words(source[start + 2 : found.start()])):
                spans.append((start, found.end(), True))
    spans += [(start, start + 2, False) for _, start in waiting]
    return sorted(spans, key=lambda span: (span[0], -span[1]))


def _gives_words(inside: str) -> bool:
    name = inside[:80].partition("|")[0]
    return _template_name(name) in WORDS_OF or _template_name(name).startswith(WORDS_BY_PREFIX)


def _template_name(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).lower()


@dataclass(frozen=True)
class _Writer:
    """Writes parsed wikitext as text with the signs that ``_tidy`` understands."""

    hidden_namespaces: Collection[str]

    def text(self, code: Wikicode | None) -> str:
        """The text of parsed wikitext."""
        return "".join(map(self.node, code.nodes)) if code else ""

    def node(self, node: Node) -> str:
        """The text of one node."""
        if isinstance(node, Text):
            return str(node.value)
        if isinstance(node, Wikilink):
            return self.link(node)
        if isinstance(node, ExternalLink):
            return self.text(node.title) if node.brackets else str(node.url)
        if isinstance(node, HTMLEntity):
            return str(node.normalize())
        if isinstance(node, Heading):
            return f"\n{HEADING}{node.level}{_on_one_line(self.text(node.title))}\n"
        if isinstance(node, Tag):
            return self.tag(node)
        return self.template(node) if isinstance(node, Template) else ""

    def link(self, link: Wikilink) -> str:
        """What a link shows; nothing for images and categories."""
        title = " ".join(str(link.title).split())
        if title.startswith(":"):
            return self.text(link.text) or title[1:]
        namespace, colon, _ = title.partition(":")
        if colon and (namespace.strip().lower() in self.hidden_namespaces):
            return ""
        if colon and (MEDIA_NAME.search(title) or (OTHER_WIKI.match(title) and not link.text)):
            return ""
        return self.text(link.text) or title

    def tag(self, tag: Tag) -> str:
        """The content of a tag, with the marks that the tag stands for."""
        name = str(tag.tag).strip().lower()
        markup = tag.wiki_markup or ""
        if markup and markup in "*#:;":
            return ITEM + markup
        if name == "table":
            return self.table(tag)
        if name in {"br", "hr"}:
            return "\n"
        content = self.text(tag.contents)
        if _attribute(tag, "style", HIDDEN_STYLE) or _attribute(tag, "class", HIDDEN_TABLE):
            return ""
        if name == "sup":  # or 10<sup>6</sup> becomes another number
            return f"^{content}" if content.strip() else ""
        if name == "li":
            return f"\n{ITEM}*{content.strip()}\n"
        return f"\n\n{content.strip()}\n\n" if name in BLOCK_TAGS else content

    def table(self, table: Tag) -> str:
        """A line a row, cells between bars; nothing for infoboxes."""
        if _attribute(table, "class", HIDDEN_TABLE):
            return ""
        rows = (" | ".join(cells) for cells in self.rows(table))
        return "\n\n" + "\n".join(row for row in rows if row.strip(" |")) + "\n\n"

    def rows(self, table: Tag) -> Iterator[list[str]]:
        """The cells of each row, each cell on one line."""
        cells: list[str] = []
        for node in table.contents.nodes:
            if not isinstance(node, Tag):
                continue
            name = str(node.tag).strip().lower()
            if name == "tr":
                yield cells
                cells = []
                yield from self.rows(node)
            elif name in {"td", "th", "caption"}:
                cell = _on_one_line(self.text(node.contents))
                if str(node).startswith("|+"):  # a caption, which the parser takes for a cell
                    yield [cell.removeprefix("+").strip()]
                else:
                    cells.append(cell)
            elif name in {"tbody", "thead", "tfoot"}:
                yield from self.rows(node)
        yield cells

    def template(self, template: Template) -> str:
        """The words of a template that has any."""
        name = _template_name(str(template.name))
        given = [self.text(p.value).strip() for p in template.params if not p.showkey]
        units = {
            str(p.name).strip(): self.text(p.value).strip() for p in template.params if p.showkey
        }
        if name in WORDS_OF:
            return WORDS_OF[name](given) + (f" {units['u']}" if units.get("u") else "")
        _, colon, value = name.partition(":")
        return value if colon else _last(given)


def _attribute(tag: Tag, name: str, pattern: re.Pattern[str]) -> bool:
    return tag.has(name) and bool(pattern.search(str(tag.get(name).value)))


def _on_one_line(text: str) -> str:
    marks = re.sub(f"(?:{ITEM}.)+", "", text)
    return " ".join(marks.replace(HEADING, "").split())


def _first(given: Sequence[str]) -> str:
    return given[0] if given else ""


def _last(given: Sequence[str]) -> str:
    return given[-1] if given else ""


def _measure(given: Sequence[str]) -> str:
    """``5|km|mi`` is 5 km; ``5|to|10|km|mi`` is 5 to 10 km."""
    is_range = len(given) >= 4 and not re.fullmatch(r"[\d.,]+", given[1]) and given[2][:1].isdigit()
    return " ".join(given[: 4 if is_range else 2])


def _sign(sign: str) -> Callable[[Sequence[str]], str]:
    return lambda given: sign


# Templates that stand for words in a sentence; a sentence without them has a hole.
WORDS_OF: dict[str, Callable[[Sequence[str]], str]] = {
    **dict.fromkeys(
        ("nowrap", "nobr", "small", "smaller", "big", "larger", "abbr", "tooltip", "mvar", "math",
         "em", "strong", "var", "code", "kbd", "samp", "mono", "ipa", "quote", "blockquote",
         "cquote", "quotation", "ill", "interlanguage link", "angbr", "keypress", "sic", "sub",
         "plainlist", "flatlist", "nobold", "noitalic", "green", "red", "hlist", "unichar"),
        _first,
    ),
    **dict.fromkeys(("lang", "langx", "wikt-lang", "transliteration", "transl", "color"), _last),
    **dict.fromkeys(("convert", "cvt", "unité", "unite"), _measure),
    **dict.fromkeys(("chem", "chem2", "gaps", "val", "num", "nombre", "formatnum"), "".join),
    **dict.fromkeys(("date-", "s-", "siècle"), " ".join),
    **dict.fromkeys(("frac", "sfrac", "fraction"), "/".join),
    **dict.fromkeys(("circa", "c."), lambda given: f"c. {_first(given)}".strip()),
    **dict.fromkeys(("sup", "superscript"), lambda given: f"^{_first(given)}"),
    "as of": lambda given: " ".join(["As of", *given[:1]]),
    **dict.fromkeys(("snd", "spnd", "sndash", "spaced ndash", "spaced en dash"), _sign(" – ")),
    **dict.fromkeys(("ndash", "en dash", "endash"), _sign("–")),
    **dict.fromkeys(("mdash", "em dash", "emdash"), _sign("—")),
    **dict.fromkeys(("nbsp", "space", "thinsp"), _sign(" ")),
    **dict.fromkeys(("dot", "·", "middot", "bullet"), _sign(" · ")),
    "'": _sign("'"),
    "=": _sign("="),
    "!": _sign("|"),
    "pi": _sign("π"),
}  # fmt: skip
WORDS_BY_PREFIX = ("lang-", "formatnum:", "lc:", "uc:", "ucfirst:")


def _tidy(text: str) -> str:
    """Signs to list marks and headings, holes closed, one empty line between paragraphs."""
    text = _close_holes(text.replace("\xa0", " "))
    lines: list[str] = []
    counters: list[int] = []
    for raw in text.split("\n"):
        marks, line = _list_marks(raw)
        line = " ".join(line.split())
        if marks:
            line = _item(marks, line, counters) if line else ""
        elif line:
            counters.clear()
        lines.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(_with_headings(lines))).strip()


def _close_holes(text: str) -> str:
    """Where templates were, brackets and spaces around them go too."""
    hole = f"[ \\t]*{GONE}[ \\t{GONE}]*"
    text = re.sub(f"^{hole}\\n", "", text, flags=re.M)  # a line of its own
    text = re.sub(f"\\({hole}[,;:]?[ \\t]*", "(", text)
    text = re.sub(f"[,;:]?{hole}\\)", ")", text)
    text = re.sub(r"[ \t]*\([ \t]*\)", "", text)
    text = re.sub(f"{hole}(?=[,.;:!?\\n]|\\Z)", "", text)
    return re.sub(hole, " ", text)


def _list_marks(line: str) -> tuple[str, str]:
    found = re.match(f"\\s*((?:{ITEM}[*#:;])+)", line)
    line = line[found.end() :] if found else line
    # a definition's colon stands within the line of its term
    return (found[1].replace(ITEM, "") if found else ""), line.replace(f"{ITEM}:", ": ")


def _item(marks: str, line: str, counters: list[int]) -> str:
    indent = "  " * (len(marks) - 1)
    del counters[len(marks) :]
    counters += [0] * (len(marks) - len(counters))
    if marks[-1] == "#":
        counters[-1] += 1
        return f"{indent}{counters[-1]}. {line}"
    if marks[-1] == "*":
        counters[-1] = 0
        return f"{indent}- {line}"
    return line  # ``:`` and ``;`` only indent


def _with_headings(lines: Sequence[str]) -> Iterator[str]:
    """Headings with empty lines around them, but none of a section that has nothing left."""
    waiting: list[tuple[int, str]] = []
    for line in lines:
        if line.startswith(HEADING):
            level, title = int(line[1]), line[2:].strip()
            waiting = [(other, above) for other, above in waiting if other < level]
            waiting.append((level, title))
        elif line:
            for _, title in waiting:
                yield from ("", title, "")
            waiting = []
            yield line
        else:
            yield line

"""Pages made of pages: with teasers of other articles or comments on them, or in no known language.

Pure, given a source of randomness. What is added is running text, so that a model must learn from
its place, its repetition and its surroundings that it is not the page's main text; the few pages
with gold texts show too little of that. A page whose letters are exchanged looks like one in a
language of which no word is known; most languages are like that to the model.
"""

import re
from collections.abc import Sequence
from html import escape
from random import Random
from string import ascii_lowercase, ascii_uppercase

MIN_PARAGRAPH_CHARS, MAX_PARAGRAPH_CHARS = 60, 900
MAX_PARAGRAPHS_PER_PAGE = 12
MIN_ADDED, MAX_ADDED = 3, 25
TEASER_SHARE = 0.55  # the others get comments
AFTER_TEXT_SHARE = 0.7  # the others at the page's end
BEFORE_HEADING_SHARE = 0.15

TEASER_NAMES = (
    *("related", "more", "teaser", "list", "recent-posts", "item", "block", "entry", "post"),
    *("article", "widget", "news", "latest", "content", "box", "", ""),
)
TEASERS = (
    '<h3><a href="/x">{title}</a></h3><p>{text}</p>',
    "<h2>{title}</h2> {text}",
    '<a href="/x">{title}</a> {text}',
    '<a href="/x"><h4>{title}</h4><p>{text}</p></a>',
    "<strong>{title}</strong><br>{text}",
    '<a href="/x">{title}</a><p>{text} <a href="/x">Read more</a></p>',
)
ENDS = ("...", "…", "", " [...]")
COMMENT_NAMES = (
    *("comments", "comment", "commentlist", "reply", "discussion", "responses", "thread"),
    *("kommentare", "post", "entry", "message", "", ""),
)
COMMENT_HEADS = (
    "<span>{name}</span> <time>12.03.2014</time>",
    "<b>{name}</b> says:",
    "<p>{name} schrieb am 3. Mai 2012 um 10:14</p>",
    "<cite>{name}</cite> on March 3, 2013 at 4:12 pm",
    "<div>{name}</div>",
)
COMMENT_TITLES = ("Comments", "12 comments", "Kommentare", "Responses", "Leave a reply", "")
NAMES = ("Anna", "Peter K.", "guest", "Maria", "John Smith", "bob77", "Thomas", "admin", "Luc")
REPLIES = ("", '<a href="#">Reply</a>', '<a href="#">Antworten</a>')


# ROT13, over what is neither a tag, nor a character reference, nor the content of a script.
EXCHANGED = str.maketrans(
    ascii_lowercase + ascii_uppercase,
    "".join(letters[13:] + letters[:13] for letters in (ascii_lowercase, ascii_uppercase)),
)
NO_TEXT = re.compile(
    r"<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>|&#?\w+;", re.IGNORECASE | re.DOTALL
)


def in_no_language(html: str) -> str:
    """The same page with its letters exchanged; ``text.translate(EXCHANGED)`` does it to a text."""
    parts, end = [], 0
    for found in NO_TEXT.finditer(html):
        parts += [html[end : found.start()].translate(EXCHANGED), found.group()]
        end = found.end()
    return "".join(parts) + html[end:].translate(EXCHANGED)


def paragraphs_of(text: str) -> list[str]:
    """Paragraphs of a main text that teasers and comments can be made of."""
    fitting = [
        line for line in text.split("\n") if MIN_PARAGRAPH_CHARS < len(line) < MAX_PARAGRAPH_CHARS
    ]
    return fitting[:MAX_PARAGRAPHS_PER_PAGE]


def augmented(html: str, main_text: str, paragraphs: Sequence[str], random: Random) -> str:
    """``html`` with teasers or comments made of ``paragraphs`` that are not in its main text."""
    drawn = [random.choice(paragraphs) for _ in range(random.randint(MIN_ADDED, MAX_ADDED))]
    drawn = [paragraph for paragraph in drawn if paragraph not in main_text]
    added = (_teasers if random.random() < TEASER_SHARE else _comments)(drawn, random)
    place = _place(html, main_text, random)
    return html[:place] + added + html[place:]


def _teasers(paragraphs: Sequence[str], random: Random) -> str:
    tag, pattern = random.choice(("li", "div", "article", "section", "p")), random.choice(TEASERS)
    name = random.choice(TEASER_NAMES)
    items = []
    for paragraph in paragraphs:
        title = " ".join(paragraph.split()[: random.randint(4, 10)])
        text = paragraph[: random.randint(80, 320)] + random.choice(ENDS)
        item = pattern.format(title=escape(title), text=escape(text))
        items.append(f'<{tag} class="{name}">{item}</{tag}>')
    around = "ul" if tag == "li" else "div"
    return f'<{around} class="{random.choice(TEASER_NAMES)}">{"".join(items)}</{around}>'


def _comments(paragraphs: Sequence[str], random: Random) -> str:
    tag, head = random.choice(("li", "div", "article")), random.choice(COMMENT_HEADS)
    name = random.choice(COMMENT_NAMES)
    items = []
    for paragraph in paragraphs:
        text = escape(paragraph[: random.randint(40, 600)])
        who = head.format(name=random.choice(NAMES))
        items.append(f'<{tag} class="{name}">{who}<p>{text}</p>{random.choice(REPLIES)}</{tag}>')
    start, end = ("<ol>", "</ol>") if tag == "li" else ("", "")
    title = f"<h3>{random.choice(COMMENT_TITLES)}</h3>"
    return f'<div class="{random.choice(COMMENT_NAMES)}">{title}{start}{"".join(items)}{end}</div>'


def _place(html: str, main_text: str, random: Random) -> int:
    """Before the headline, behind the main text where that is found, or at the end."""
    if random.random() < BEFORE_HEADING_SHARE and "<h1" in html:
        return html.find("<h1")
    lines = [line for line in main_text.split("\n") if len(line) > 40]
    if lines and random.random() < AFTER_TEXT_SHARE:
        for part in (lines[-1][-30:], lines[-1][:30]):
            found = html.rfind(part)
            closed = html.find("</div>", found) if found >= 0 else -1
            if closed >= 0:
                return closed
    end = html.lower().rfind("</body")
    return end if end >= 0 else len(html)

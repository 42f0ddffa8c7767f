"""The parts of a page's markup in which it speaks about itself.

What the markup's reader picks out and hands to ``metadata``. The rules for picking stand here; the
compiled reader (``native/signs.hpp``) follows them, and tests compare it with a plain one that
reads them from here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_TEXT_CHARS = 300
MAX_HINT_CHARS = 300
MAX_DATED_CHARS = 100
BYLINE_HINTS = (
    *("author", "autor", "auteur", "byline", "by-line", "writer", "verfasser", "vcard"),
    *("date", "datum", "fecha", "publish", "posted", "created", "timestamp", "time-"),
    *("entry-meta", "post-meta", "article-meta", "meta-info"),
)
AUTHOR_PATHS = ("/author", "/autor", "/auteur", "/redakt", "/staff/")
CREDITS = re.compile(
    r"(?:by|von|por|par|di|door|author|autor|text|written by|[a-z]+ (?:by|von))(?:[\s:]|$)", re.I
)

Sign = tuple[str, str, str]
Signs = Sequence[Sign]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a page says about itself, in document order.

    Character references are decoded and white space is collapsed to single spaces, except in
    ``json_ld``. The text of an element is that of all text nodes in it, joined by spaces, without
    those of script, style and template; it is cut after MAX_TEXT_CHARS.

    Attributes:
        title: text of the first <title> that is in no <svg>.
        language: the lang attribute of <html>, else its xml:lang.
        metas: (name, content) of each <meta> with both, wherever it stands. The name is that of
            the attributes name, property, itemprop and http-equiv, in lower case; a <meta> with
            several of them has an entry for each.
        links: (rel in lower case, href) of each <link> with both.
        json_ld: raw texts of <script type="application/ld+json">.
        anchors: (href, rel in lower case) of each <a> with an href.
        base: href of the first <base>.
        signs: what readers see of title, author and date: (kind, hints, text) of what stands
            within <body>. Hints are an element's rel, itemprop, class and id in lower case, joined
            by spaces. An element has the first kind of these that fits, its text as told here:

            - h1: an <h1>.
            - time: a <time>; its datetime attribute, if not empty, else its text.
            - byline: one whose hints hold one of BYLINE_HINTS; its content or datetime attribute
              or, of an <abbr>, its title attribute, whichever is the first not empty, else its
              text. Not <meta>, <link>, <script>, <style>, <template>.
            - author: an <a> whose href holds one of AUTHOR_PATHS.

            Text nodes in none of script, style and template are signs too, without hints:

            - dated: one in whose first MAX_DATED_CHARS a year, 19.. or 20.., stands; these chars.
            - credit: one that CREDITS matches; the text of the element around it.
    """

    title: str = ""
    language: str = ""
    metas: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    json_ld: tuple[str, ...] = ()
    anchors: tuple[tuple[str, str], ...] = ()
    base: str = ""
    signs: tuple[Sign, ...] = ()

"""Secrets in texts and source code: keys and tokens of services, private keys, passwords.

Pure: text in, spans out. Most services mark their tokens with letters of their own, so that a
search for these letters is all that a text without secrets costs. Other secrets are known by what
they are assigned to and by being gibberish: strings of letters that no language puts side by side.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tasks.filter.personal.findings import Span

LEFT, RIGHT = r"(?<![A-Za-z0-9_-])", r"(?![A-Za-z0-9_-])"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenForm:
    """A service's tokens: letters that all of them have, and their form."""

    service: str
    marks: tuple[str, ...]
    form: re.Pattern[str]


def _form(
    service: str, marks: str, pattern: str, *, left: str = LEFT, right: str = RIGHT
) -> TokenForm:
    return TokenForm(
        service=service, marks=tuple(marks.split()), form=re.compile(left + pattern + right)
    )


TOKEN_FORMS = (
    _form("aws", "AKIA ASIA", r"A(?:K|S)IA[A-Z2-7]{16}"),
    _form("github", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{36,251}"),
    _form("github", "github_pat_", r"github_pat_\w{40,250}"),
    _form("gitlab", "glpat-", r"glpat-[\w-]{20,64}"),
    _form("slack", "xox", r"xox[a-z]-[A-Za-z0-9-]{10,250}"),
    _form("slack", "hooks.slack.com", r"hooks\.slack\.com/services/T\w{6,14}/B\w{6,14}/\w{18,40}"),
    _form("google", "AIza", r"AIza[\w-]{35}"),
    _form("google", "GOCSPX-", r"GOCSPX-[\w-]{28}"),
    _form("google", "ya29.", r"ya29\.[\w-]{20,300}"),
    _form("openai", "sk-", r"sk-(?:proj-|svcacct-|admin-|ant-[a-z]{3}\d{2}-|or-v1-)?[\w-]{32,220}"),
    _form("stripe", "_live_ _test_", r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,128}"),
    _form("huggingface", "hf_", r"hf_[A-Za-z0-9]{30,64}"),
    _form("npm", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _form("pypi", "pypi-", r"pypi-AgEIcHlwaS5vcmc[\w-]{50,250}"),
    _form("sendgrid", "SG.", r"SG\.[\w-]{22}\.[\w-]{43}"),
    _form("digitalocean", "_v1_", r"do[opr]_v1_[a-f0-9]{64}"),
    _form("shopify", "shp", r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    _form("twilio", "SK", r"SK[0-9a-f]{32}"),
    _form("mailgun", "key-", r"key-[0-9a-f]{32}"),
    _form("telegram", ":AA", r"\d{8,10}:AA[\w-]{33}", left=r"(?<!\w)"),
    _form("azure", "AccountKey=", r"(?<=AccountKey=)[A-Za-z0-9+/]{86}==", left="", right=""),
    _form("jwt", "eyJ", r"eyJ[\w-]{10,1000}\.eyJ[\w-]{10,2000}\.[\w-]{20,1000}"),
)
MARKS = [(mark, number) for number, token in enumerate(TOKEN_FORMS) for mark in token.marks]

KEY_BEGIN, KEY_END = "-----BEGIN ", "-----END "
KEY_HEADER = re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
MAX_KEY_CHARS = 10_000
MIN_KEY_CHARS = 60  # an empty block, or one with dots in it, shows how it is done

URL_PASSWORD = re.compile(r"://[^\s/:@\"'<>]{1,64}:([^\s/@\"'<>]{3,128})@[\w\[]")
ASSIGNED = re.compile(
    r"(?i)(?:secret|token|passw(?:or)?d|pwd|credential|api_?-?key|access_?-?key|private_?-?key"
    r"|auth_?-?key|account_?-?key|client_?-?key|encryption_?-?key)\w{0,24}[\"']?\]?"
    r"\s{0,8}(?::=|=>|[:=(,])\s{0,8}[bru]?([\"'])([^\"'\s]{8,200})\1"
)
ASSIGNMENT_WORDS = ("secret", "token", "passw", "pwd", "credential", "key")
PLACEHOLDER = re.compile(
    r"(?i)example|sample|dummy|placeholder|changeme|change_me|your|my_?(?:secret|pass|key|token)"
    r"|test|xxxx|fake|redacted|insert|todo|secret|token|password|passwd|none|null|default|foo|bar"
    r"|\.\.\.|…|\*{3}|[<>{}$%]|12345|abcdef|00000|qwert"
)
PASSWORD_PLACEHOLDER = re.compile(r"(?i)^(?:pass\w{0,8}|pw|pwd|secret|user\w{0,4}|port)$")

# The pairs of letters that make up four fifths of English text (counted in Wikipedia); letters
# drawn by lot hit one of them about once in five times.
PAIRS = (
    "ab ac ad ai al am an ar as at be ca ce ch ci co ct de di ea ec ed ee el em en er es "
    "et fi fo fr ge ha he hi ho ia ic id ie ig il im in io ir is it iv la le li ll lo ly "
    "ma me mi mo mp na nc nd ne ng ni no ns nt of ol om on op or os ot ou ow pa pe pl po "
    "pr ra re ri ro rs rt ry se sh si so ss st su ta te th ti to tr ts tu ul un ur us ut "
    "ve vi wa we wh wi "
)
COMMON_PAIRS = frozenset(PAIRS.split())
MAX_COMMON_PAIRS = 0.5
MIN_ENTROPY_BITS = 3.0


def find_secrets(
    text: str, long_words: Sequence[Span], *, is_code: bool
) -> Iterator[tuple[int, int, str]]:
    """Secrets: start, end, whose.

    Args:
        text: any text.
        long_words: where it has words long enough for a token.
        is_code: whether to look also for what is assigned to a name such as ``api_key``.
    """
    together = " ".join([text[start:end] for start, end in long_words])
    marked = [number for mark, number in MARKS if mark in together] if together else []
    for token in [TOKEN_FORMS[number] for number in dict.fromkeys(marked)]:
        for start, end in long_words:
            for match in token.form.finditer(text, start, end):
                if not _is_placeholder(match.group()):
                    yield (*match.span(), token.service)
    if long_words and KEY_BEGIN in text:
        yield from _private_keys(text)
    if "@" in text and "://" in text:
        for match in URL_PASSWORD.finditer(text):
            password = match.group(1)
            if not PLACEHOLDER.search(password) and not PASSWORD_PLACEHOLDER.match(password):
                yield (*match.span(1), "url")
    if is_code:
        yield from _assigned(text)


def _is_placeholder(token: str) -> bool:
    """Whether a token of the right form stands for one: too few letters, or an example's."""
    body = token.rpartition("_")[2] if "_" in token[:12] else token[4:]
    return len(set(body)) < 8 or "EXAMPLE" in token.upper() or "xxxx" in token.lower()


def _private_keys(text: str) -> Iterator[tuple[int, int, str]]:
    end = 0
    for header in KEY_HEADER.finditer(text):
        if header.start() < end:
            continue
        body = header.end()
        closing = text.find(KEY_END, body, body + MAX_KEY_CHARS)
        if closing - body >= MIN_KEY_CHARS:
            end = closing
            yield body, closing, "private_key"


def _assigned(text: str) -> Iterator[tuple[int, int, str]]:
    lowered = text.lower()
    if not any(word in lowered for word in ASSIGNMENT_WORDS):
        return
    for match in ASSIGNED.finditer(text):
        if is_gibberish(match.group(2)):
            yield (*match.span(2), "assigned")


def is_gibberish(value: str) -> bool:
    """Whether a string looks drawn by lot: many different signs, letters that do not go together,
    a digit among them; not a placeholder, a path or a name.
    """
    if len(value) < 12 or PLACEHOLDER.search(value) or not any(map(str.isdigit, value)):
        return False
    if entropy_bits(value) < MIN_ENTROPY_BITS or "://" in value or value.count(".") > 3:
        return False
    return _common_pairs(value) <= MAX_COMMON_PAIRS


def entropy_bits(value: str) -> float:
    """Shannon's entropy of the signs of ``value``, in bits a sign."""
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)


def _common_pairs(value: str) -> float:
    """Share of the pairs of letters in ``value`` that are common in English."""
    lowered = value.lower()
    pairs = [
        first + second
        for first, second in pairwise(lowered)
        if first.isalpha() and second.isalpha()
    ]
    return sum(pair in COMMON_PAIRS for pair in pairs) / max(1, len(pairs))

"""Personal data in documents: found, and dealt with kind by kind. Pure: texts in, texts out.

What is masked is replaced by something of the same form from the ranges that are reserved for
examples (RFC 2606, 3849 and 5737) or that no number has, so that sentences still read as
sentences, and masking twice changes nothing.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tasks.filter.personal.addresses import find_emails, find_ips, find_macs
from tasks.filter.personal.config import KINDS, Kind, PersonalDataRules
from tasks.filter.personal.credentials import find_secrets
from tasks.filter.personal.findings import Finding, Span
from tasks.filter.personal.names import NameFinder
from tasks.filter.personal.numbers import find_cards, find_ibans, find_national_ids, find_wallets
from tasks.filter.personal.phones import find_phones, regions
from tasks.filter.personal.pseudonyms import Pseudonyms
from tasks.filter.personal.stretches import Batch, Stretch

TAG = "personal_data:"
REASON = "personal_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A document as this module needs it."""

    text: str
    is_code: bool = False
    language: str | None = None
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrubbed:
    """What was found in a document and what became of it."""

    text: str
    reason: str | None = None  # why it is dropped
    detail: str | None = None  # how much there is and may be
    tags: list[str] = field(default_factory=list)
    found: Counter[str] = field(default_factory=Counter)  # by kind, national numbers by country


class Scrubber:
    """Finds and deals with personal data as the rules say."""

    def __init__(
        self,
        rules: PersonalDataRules,
        pseudonyms: Pseudonyms | None = None,
        find_names: NameFinder | None = None,
    ) -> None:
        self._rules = rules
        self._pseudonyms = pseudonyms
        self._find_names = find_names
        self._wanted = {code: list(rules.wanted(is_code=code)) for code in (False, True)}

    def scrub(self, pages: Sequence[Page]) -> list[Scrubbed]:
        """Deal with each page; none depends on its neighbours."""
        return [
            self._deal_with(page, findings)
            for page, findings in zip(pages, self.find(pages), strict=True)
        ]

    def find(self, pages: Sequence[Page]) -> list[list[Finding]]:
        """What is in each page of the kinds that are wanted in it; in order, none overlap."""
        texts = [page.text for page in pages]
        wanted = [self._wanted[page.is_code] for page in pages]
        batch = Batch(texts)
        digits, long_words = batch.digits(), batch.long_words()
        names = self._names([t if "name" in w else "" for t, w in zip(texts, wanted, strict=True)])
        return [
            _without_overlaps([*self._in_page(page, kinds, digits[at], long_words[at]), *names[at]])
            for at, (page, kinds) in enumerate(zip(pages, wanted, strict=True))
        ]

    def _names(self, texts: Sequence[str]) -> list[list[Finding]]:
        if not self._find_names or not any(texts):
            return [[] for _ in texts]
        return [[Finding(*span, "name") for span in spans] for spans in self._find_names(texts)]

    def _in_page(
        self,
        page: Page,
        kinds: Sequence[Kind],
        digits: Sequence[Stretch],
        long_words: Sequence[Span],
    ) -> Iterator[Finding]:
        text = page.text
        for kind in kinds:
            if kind == "secret":
                for start, end, service in find_secrets(text, long_words, is_code=page.is_code):
                    yield Finding(start, end, kind, service)
            elif kind in SIMPLE_FINDERS:
                yield from (Finding(*span, kind) for span in SIMPLE_FINDERS[kind](text))
            elif not digits:
                continue
            elif kind == "national_id":
                for start, end, name in find_national_ids(text, digits, self._rules.national_ids):
                    yield Finding(start, end, kind, name)
            elif kind == "phone":
                likely = regions(page.language, page.host)
                yield from (Finding(*span, kind) for span in find_phones(text, digits, likely))
            elif kind == "iban":
                yield from (Finding(*span, kind) for span in find_ibans(text, digits))
            elif kind == "credit_card":
                yield from (Finding(*span, kind) for span in find_cards(text, digits))

    def _deal_with(self, page: Page, findings: Sequence[Finding]) -> Scrubbed:
        if not findings:
            return Scrubbed(text=page.text)
        found = Counter(
            f"{f.kind}.{f.detail}" if f.kind == "national_id" else f.kind for f in findings
        )
        by_kind = Counter(finding.kind for finding in findings)
        if too_much := self._reason_to_drop(by_kind):
            reason, detail = too_much
            return Scrubbed(text=page.text, reason=reason, detail=detail, found=found)
        tags = [f"{TAG}{kind}" for kind in KINDS if kind in by_kind and self._action(kind) == "tag"]
        return Scrubbed(text=self._edited(page.text, findings), tags=tags, found=found)

    def _action(self, kind: Kind) -> str:
        return self._rules.rule(kind).action

    def _reason_to_drop(self, by_kind: Counter[Kind]) -> tuple[str, str] | None:
        """The reason and its figures."""
        for kind in KINDS:
            rule, number = self._rules.rule(kind), by_kind[kind]
            limit = 0 if rule.action == "drop" else rule.drop_above
            if limit is not None and number > limit:
                return f"{REASON}_{kind}", f"{kind} {number} > {limit}"
        total = self._rules.drop_above
        if total is not None and by_kind.total() > total:
            return REASON, f"{REASON} {by_kind.total()} > {total}"
        return None

    def _edited(self, text: str, findings: Iterable[Finding]) -> str:
        pieces, position = [], 0
        for start, end, kind, _ in findings:
            action = self._action(kind)
            if action == "mask":
                pieces += [text[position:start], example(kind, text[start:end])]
            elif action == "pseudonymise":
                assert self._pseudonyms, "rules with stand-ins come with a key"
                pieces += [text[position:start], self._pseudonyms.stand_in(kind, text[start:end])]
            else:
                continue
            position = end
        return "".join([*pieces, text[position:]])


SIMPLE_FINDERS = {
    "email": find_emails,
    "ip": find_ips,
    "mac": find_macs,
    "crypto_wallet": find_wallets,
}
EXAMPLES: dict[Kind, str] = {
    "email": "someone@example.org",
    "secret": "EXAMPLE_SECRET",
    "mac": "00:00:00:00:00:00",
    "crypto_wallet": "EXAMPLE_WALLET",
    "name": "Jane Doe",
}


def example(kind: Kind, found: str) -> str:
    """What stands for all data of a kind; numbers keep their form, of zeros and the letter X."""
    if kind == "ip":
        return "2001:db8::1" if ":" in found else "192.0.2.1"
    if kind in EXAMPLES:
        return EXAMPLES[kind]
    return re.sub(r"[^\W\d_]", "X", re.sub(r"\d", "0", found))


def _without_overlaps(findings: Sequence[Finding]) -> list[Finding]:
    """Of findings that overlap only the one whose kind comes first; in the order of the text."""
    if len(findings) < 2:
        return list(findings)
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (f.start, KINDS.index(f.kind), -f.end)):
        while kept and kept[-1].end > finding.start and _comes_before(finding, kept[-1]):
            kept.pop()
        if not kept or kept[-1].end <= finding.start:
            kept.append(finding)
    return kept


def _comes_before(one: Finding, other: Finding) -> bool:
    return KINDS.index(one.kind) < KINDS.index(other.kind)

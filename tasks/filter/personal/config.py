"""What is done with personal data, kind by kind."""

from collections.abc import Iterator
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal[
    "secret",
    "email",
    "iban",
    "credit_card",
    "national_id",
    "phone",
    "ip",
    "mac",
    "crypto_wallet",
    "name",
]
KINDS: tuple[Kind, ...] = get_args(Kind)  # where findings overlap, the earlier kind has it
Action = Literal["leave", "tag", "mask", "pseudonymise", "drop"]
NationalId = Literal[
    "us_ssn",
    "uk_nino",
    "de_steuer_id",
    "fr_nir",
    "es_dni",
    "es_nie",
    "it_codice_fiscale",
    "nl_bsn",
    "pl_pesel",
    "br_cpf",
    "se_personnummer",
    "fi_hetu",
    "be_rrn",
    "ch_ahv",
    "ca_sin",
    "mx_curp",
    "cn_ric",
    "in_aadhaar",
]
NATIONAL_IDS: tuple[NationalId, ...] = get_args(NationalId)


class KindRule(BaseModel):
    """What becomes of one kind of personal data."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Kind of personal data")

    action: Action = Field(
        "mask",
        title="Action",
        description="leave: do not look; tag: note it in the document's tags; mask: an example in "
        "its place; pseudonymise: a stand-in of the same form, the same one throughout; drop: the "
        "document",
    )
    drop_above: int | None = Field(
        None,
        title="Drop above",
        ge=0,
        description="Findings above which the document is dropped whatever the action; empty: "
        "no limit",
    )


def _rule(action: Action, title: str) -> KindRule:
    return Field(KindRule(action=action), title=title)


class NameRules(BaseModel):
    """Who recognises names of persons."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Names")

    library: Literal["spacy"] = Field(
        "spacy", title="Library", description="Needs bloomery[names] to be installed"
    )
    model: str = Field(
        "en_core_web_sm",
        title="Model",
        description="A package with a recogniser of entities, or the folder that it is in",
    )


class PersonalDataRules(BaseModel):
    """Personal data and secrets; looked for in the documents that stay."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Personal data")

    secret: KindRule = _rule("mask", "Secrets: keys and tokens of services, private keys")
    email: KindRule = _rule("mask", "E-mail addresses")
    iban: KindRule = _rule("mask", "Bank accounts (IBAN)")
    credit_card: KindRule = _rule("mask", "Credit cards")
    national_id: KindRule = _rule("mask", "National identity, tax and insurance numbers")
    phone: KindRule = _rule("mask", "Phone numbers")
    ip: KindRule = _rule("mask", "Public IP addresses")
    mac: KindRule = _rule("leave", "Addresses of network cards (MAC)")
    crypto_wallet: KindRule = _rule("leave", "Addresses of crypto wallets")
    name: KindRule = _rule("leave", "Names of persons")
    in_code: list[Kind] = Field(
        ["secret"],
        title="Kinds in code",
        description="Looked for in source code too; the others in prose only, since much in code "
        "looks like an address or a number and is none",
    )
    national_ids: list[NationalId] = Field(
        list(NATIONAL_IDS), title="National numbers", description="Of which countries"
    )
    drop_above: int | None = Field(
        None,
        title="Drop above, all kinds",
        ge=0,
        description="Findings of all kinds together above which a document is dropped; Dolma's "
        "recipe is 5; empty: no limit",
    )
    key_file: str | None = Field(
        None,
        title="Key file",
        description="Secret of at least 32 bytes that makes stand-ins, from head -c 32 "
        "/dev/urandom. Who has it can link stand-ins to guesses; nobody else can",
    )
    names: NameRules = Field(NameRules(), title="Names")

    @model_validator(mode="after")
    def _stand_ins_have_a_key(self) -> "PersonalDataRules":
        uses_key = any(self.rule(kind).action == "pseudonymise" for kind in KINDS)
        if uses_key and not self.key_file:
            raise ValueError("pseudonymise needs a key; set personal_data.key_file to a path")
        return self

    def rule(self, kind: Kind) -> KindRule:
        """What becomes of ``kind``."""
        found: KindRule = getattr(self, kind)
        return found

    def wanted(self, *, is_code: bool) -> Iterator[Kind]:
        """The kinds to look for."""
        for kind in KINDS:
            rule = self.rule(kind)
            if (rule.action != "leave" or rule.drop_above is not None) and (
                not is_code or kind in self.in_code
            ):
                yield kind

"""The table of a mixture: how much there is of each group, how much is trained on, and when. Pure.

In: rules, and what there is. Out: the table as plain values, and as Markdown.

A group is cut into *portions*: documents that count equally often in every phase of training. The
table is made twice by the same function, of estimated token counts when documents are mixed and of
exact ones when they have been encoded, so it carries the rules that it was made by.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tasks.common.weights import hand_out, raw_weights

MAIN_PHASE = "main"
NEGLIGIBLE = 1e-9  # of a limit: what rounding leaves of it; of a phase: below a loader's resolution


class MixWeight(BaseModel):
    """The weight of one group in the mixture."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Mixture weight")

    group: str = Field(title="Group", min_length=1, description="Name of a source or subject")
    weight: float = Field(
        title="Weight",
        ge=0,
        description="Share of the training tokens, relative to the others'; 0 leaves it out",
    )


def _each_group_once(weights: list[MixWeight]) -> list[MixWeight]:
    names = [weight.group for weight in weights]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"groups {twice} are named twice; give each one weight")
    return weights


MixWeights = Annotated[list[MixWeight], AfterValidator(_each_group_once)]


class Step(BaseModel):
    """From some size on, documents count several times."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Step")

    at_least: int = Field(title="From", ge=1, description="The size at which this step begins")
    times: float = Field(
        title="Times", ge=0, description="How often such a document counts, up to the next step"
    )


class Phase(BaseModel):
    """A later part of training with a mixture of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Phase")

    name: str = Field(title="Name", pattern=r"^[a-z0-9][a-z0-9-]*$", description="Such as anneal")
    share: float = Field(
        title="Share", gt=0, lt=1, description="Of the training tokens; the main mixture's is less"
    )
    groups: list[str] = Field(
        default_factory=list, title="Groups", description="Only these; empty takes all"
    )
    weights: MixWeights = Field(
        default_factory=list, title="Weights", description="In place of the main mixture's"
    )
    multiply: dict[str, float] = Field(
        default_factory=dict, title="Multiply", description="Group → factor on its weight here"
    )
    keep_share: float = Field(
        1.0,
        title="Best share",
        gt=0,
        le=1,
        description="Share of each group's documents, those with the highest quality scores",
    )
    min_quality: float | None = Field(
        None, title="Least quality", description="Only documents with at least this score"
    )
    min_bytes: int = Field(
        0, title="Shortest document, bytes", ge=0, description="Only documents as long as this"
    )
    length_steps: list[Step] = Field(
        default_factory=list,
        title="Upweight long documents",
        description="How often documents of so many bytes count; a group's own weight stays",
    )

    @property
    def selects_quality(self) -> bool:
        """Whether documents need a quality score to be chosen."""
        return self.keep_share < 1 or self.min_quality is not None


class MixRules(BaseModel):
    """How sizes become weights and targets."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Mixture rules")

    weights: MixWeights = Field(
        default_factory=list, title="Weights", description="Groups whose weight is not their size"
    )
    default_weight: float = Field(
        1.0,
        title="Weight of the others",
        gt=0,
        description="Of all groups not named: the weight of each is this times its share of all",
    )
    alpha: float = Field(
        1.0,
        title="Exponent of size",
        ge=0,
        le=1,
        description="Groups not named weigh size to this power: 1 as much as there is, 0 all the "
        "same, 0.3 as languages in XLM-R and mT5 (temperature T: 1/T)",
    )
    multiply: dict[str, float] = Field(
        default_factory=dict,
        title="Multiply",
        description="Group → factor on its weight, such as {code: 2, entertainment: 0.5}",
    )
    token_budget: int = Field(
        10_000_000, title="Token budget", ge=1, description="Training tokens the mixture is for"
    )
    max_epochs: float = Field(
        4.0,
        title="Most epochs",
        gt=0,
        description="Times a document may be seen; what is over goes to the other groups",
    )
    max_epochs_by_group: dict[str, float] = Field(
        default_factory=dict, title="Most epochs of a group", description="Group → times"
    )
    phases: list[Phase] = Field(
        default_factory=list,
        title="Later phases",
        description="After the main mixture, in this order: such as annealing on the best "
        "documents, or long documents for a longer context",
    )

    def rules(self) -> "MixRules":
        """These rules alone, where they are part of more."""
        return MixRules(**{name: getattr(self, name) for name in MixRules.model_fields})

    @model_validator(mode="after")
    def _numbers_make_sense(self) -> "MixRules":
        names = [MAIN_PHASE, *(phase.name for phase in self.phases)]
        if len(set(names)) < len(names):
            raise ValueError(f"phases are called {names}; give each a name of its own")
        if (later := sum(phase.share for phase in self.phases)) >= 1:
            raise ValueError(f"the later phases' shares sum to {later:g}, which leaves no main one")
        for name, factors in [
            ("multiply", self.multiply),
            ("max_epochs_by_group", self.max_epochs_by_group),
            *((f"phases.{phase.name}.multiply", phase.multiply) for phase in self.phases),
        ]:
            if wrong := sorted(group for group, factor in factors.items() if factor < 0):
                raise ValueError(f"{name}: negative for {wrong}; 0 leaves a group out")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """The documents of one group that count ``times[p]`` times in phase p (0: they do not)."""

    name: str
    group: str
    folder: str
    times: tuple[float, ...]
    num_documents: int
    num_bytes: int
    num_tokens: float


def mixture_table(
    rules: MixRules, portions: Sequence[Portion], *, are_exact: bool
) -> dict[str, Any]:
    """What there is, what is taken of it, and how often that is seen: in all, and by phase.

    No document is seen more often than its group's ``max_epochs`` over the whole run. The later
    phases are served first: they are small, and what they are made for is scarce.
    """
    portions = sorted(portions, key=lambda portion: portion.name)
    used = {portion.name: 0.0 for portion in portions}
    phases: list[dict[str, Any]] = []
    for number in reversed(range(len(rules.phases) + 1)):
        given = _phase_targets(rules, number, portions, used)
        used = {name: used[name] + given[name] for name in used}
        phases.insert(0, _phase_row(rules, number, portions, given))
    return {
        "token_budget": rules.token_budget,
        "are_counts_exact": are_exact,
        "groups": [_group_row(own, used) for own in _by_group(portions).values()],
        "phases": phases,
        "rules": rules.model_dump(mode="json"),
    }


def _phase_targets(
    rules: MixRules, number: int, portions: Sequence[Portion], used: Mapping[str, float]
) -> dict[str, float]:
    """Tokens of each portion in one phase: by group first, then within the group."""
    phase = rules.phases[number - 1] if number else None
    share = phase.share if phase else 1 - sum(later.share for later in rules.phases)
    by_group = _by_group(portions)
    epochs = {g: rules.max_epochs_by_group.get(g, rules.max_epochs) for g in by_group}
    if unknown := sorted(rules.max_epochs_by_group.keys() - by_group.keys()):
        raise ValueError(f"no documents in the groups {unknown}; there are {sorted(by_group)}")
    counted = {p.name: p.num_tokens * p.times[number] for p in portions}
    limits = {
        p.name: _left(epochs[p.group] * p.num_tokens, used[p.name]) if counted[p.name] else 0.0
        for p in portions
    }
    weights = _phase_weights(
        rules, phase, {g: sum(counted[p.name] for p in own) for g, own in by_group.items()}
    )
    group_limits = {g: sum(limits[p.name] for p in own) for g, own in by_group.items()}
    targets = hand_out(share * rules.token_budget, weights, group_limits)
    given: dict[str, float] = {}
    for group, own in by_group.items():
        given |= hand_out(
            targets[group],
            {p.name: counted[p.name] for p in own},
            {p.name: limits[p.name] for p in own},
        )
    return given


def _left(limit: float, used: float) -> float:
    left = limit - used
    return left if left > NEGLIGIBLE * limit else 0.0


def _phase_weights(
    rules: MixRules, phase: Phase | None, sizes: Mapping[str, float]
) -> dict[str, float]:
    named = {weight.group: weight.weight for weight in rules.weights}
    if phase is None:
        return raw_weights(sizes, named, rules.default_weight, rules.alpha, rules.multiply)
    if unknown := sorted(set(phase.groups) - sizes.keys()):
        raise ValueError(f"phase {phase.name}: no documents in {unknown}; there are {[*sizes]}")
    if phase.weights:
        named = {weight.group: weight.weight for weight in phase.weights}
    factors = {
        group: rules.multiply.get(group, 1.0) * phase.multiply.get(group, 1.0)
        for group in rules.multiply.keys() | phase.multiply.keys()
    }
    return raw_weights(sizes, named, rules.default_weight, rules.alpha, factors)


def _phase_row(
    rules: MixRules, number: int, portions: Sequence[Portion], given: Mapping[str, float]
) -> dict[str, Any]:
    phase = rules.phases[number - 1] if number else None
    share = phase.share if phase else 1 - sum(later.share for later in rules.phases)
    spent = sum(given[p.name] for p in portions)
    if not spent:
        raise ValueError(
            f"phase {phase.name if phase else MAIN_PHASE} has nothing to train on: choose less "
            "narrowly, raise max_epochs or bring more data"
        )
    weights = {p.name: given[p.name] / spent for p in portions}
    return {
        "name": phase.name if phase else MAIN_PHASE,
        "share": share,
        "target_tokens": round(spent),
        "weights": {name: _digits(own) for name, own in weights.items() if own >= NEGLIGIBLE},
    }


def _group_row(own: Sequence[Portion], used: Mapping[str, float]) -> dict[str, Any]:
    tokens, target = sum(p.num_tokens for p in own), sum(used[p.name] for p in own)
    total = sum(used.values())
    return {
        "group": own[0].group,
        "folder": own[0].folder.partition("/")[0],
        "documents": sum(p.num_documents for p in own),
        "bytes": sum(p.num_bytes for p in own),
        "tokens": round(tokens),
        "weight": _digits(target / total),
        "target_tokens": round(target),
        "epochs": _digits(target / tokens) if tokens else 0.0,
        "portions": [
            {
                "name": p.name,
                "folder": p.folder,
                "times": list(p.times),
                "documents": p.num_documents,
                "bytes": p.num_bytes,
                "tokens": round(p.num_tokens),
                "target_tokens": round(used[p.name]),
                "epochs": _digits(used[p.name] / p.num_tokens) if p.num_tokens else 0.0,
            }
            for p in own
        ],
    }


def _digits(value: float) -> float:
    """Twelve digits: what every machine's arithmetic agrees on."""
    return float(f"{value:.12g}")


def _by_group(portions: Iterable[Portion]) -> dict[str, list[Portion]]:
    found: dict[str, list[Portion]] = {}
    for portion in portions:
        found.setdefault(portion.group, []).append(portion)
    return dict(sorted(found.items()))


def gpt3_rows(table: Mapping[str, Any], num_tokens: float | None = None) -> Iterator[tuple]:
    """(group, tokens, weight, tokens taken, epochs elapsed) in a run of ``num_tokens``.

    By default in one of the mixture's own length. The last row is their sum, without epochs.
    """
    rows = table["groups"]
    length = num_tokens or sum(row["target_tokens"] for row in rows)
    for row in rows:
        taken = row["weight"] * length
        yield row["group"], row["tokens"], row["weight"], taken, taken / max(1, row["tokens"])
    yield "total", sum(row["tokens"] for row in rows), 1.0, length, None


def mixture_markdown(table: Mapping[str, Any], num_tokens: float | None = None) -> str:
    """The GPT-3 table, and where training has several phases each one's weights."""
    counts = "tokens" if table["are_counts_exact"] else "tokens (estimated)"
    lines = [
        f"| group | {counts} | weight in training mix | tokens taken | epochs elapsed |",
        "|---|---:|---:|---:|---:|",
    ]
    for group, tokens, weight, taken, epochs in gpt3_rows(table, num_tokens):
        seen = "" if epochs is None else f"{epochs:.2f}"
        lines.append(f"| {group} | {tokens:,} | {weight:.1%} | {taken:,.0f} | {seen} |")
    if rows := phase_rows(table):
        head, *rest = ("| " + " | ".join(cells) + " |" for cells in rows)
        lines += ["", head, "|---|" + "---:|" * len(table["phases"]), *rest]
    return "\n".join(lines)


def phase_rows(table: Mapping[str, Any]) -> list[list[str]]:
    """The phases' names, shares and weights of portions, a row each; none of a single phase."""
    phases = table["phases"]
    if len(phases) < 2:
        return []
    names = [portion["name"] for row in table["groups"] for portion in row["portions"]]
    return [
        ["phase", *(phase["name"] for phase in phases)],
        ["share", *(f"{phase['share']:.1%}" for phase in phases)],
        *([name, *(f"{phase['weights'].get(name, 0):.1%}" for phase in phases)] for name in names),
    ]

"""What a training run said, as plain values, and told to people.

In: a ``metrics.jsonl``. Out: its events by kind, and a summary in Markdown. Pictures of it are
``training_plots.py``'s.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

Event = dict[str, Any]

_MAX_ROWS = 40
_MAX_SAMPLE_CHARS = 600


@dataclass(frozen=True, slots=True)
class TrainingLog:
    """The events of a run, in their order."""

    events: Sequence[Event]

    @classmethod
    def read(cls, path: Path) -> Self:
        """All lines of a file, but for what a rollback took back; rollbacks themselves stay."""
        lines = path.read_text(encoding="utf-8").split("\n")
        kept: list[Event] = []
        for event in (json.loads(line) for line in lines if line):
            if event["event"] == "rolled_back":
                kept = [e for e in kept if _outlives(e, event["step"])]
            kept.append(event)
        return cls(kept)

    def of(self, kind: str) -> list[Event]:
        """Those of one kind: ``step``, ``eval``, ``samples`` …"""
        return [event for event in self.events if event["event"] == kind]

    def held_out(self, name: str = "loss") -> str:
        """The field, in evaluations and at the end, of what is held out: of the model that is kept,
        which is the average of the weights where there is one."""
        of_average = f"val_ema_{name}"
        return of_average if any(of_average in e for e in self.events) else f"val_{name}"

    def of_kept(self, event: Event) -> Event:
        """The same, with ``val_…`` what is held out of the model that is kept."""
        plain = {name: value for name, value in event.items() if not name.startswith("val_ema_")}
        names = {name for name in plain if name.startswith("val_")}
        return plain | {
            n: event.get(self.held_out(n.removeprefix("val_")), plain[n]) for n in names
        }

    def last(self, kind: str) -> Event:
        """The last of a kind; empty where there is none."""
        return next((e for e in reversed(self.events) if e["event"] == kind), {})

    def usual(self, field: str) -> float | None:
        """The median over the steps that tell it: what a pause or a slow first step did not
        decide."""
        told = [event[field] for event in self.of("step") if event.get(field) is not None]
        return float(median(told)) if told else None

    def by_group(self) -> tuple[str, list[tuple[int, dict[str, float]]]]:
        """What held-out groups are measured in, and (step, value of each group) by evaluation."""
        for unit in ("bits_per_byte", "loss"):
            name = self.held_out(f"{unit}_by_group")
            found = [(e["step"], e[name]) for e in self.of("eval") if e.get(name)]
            if found:
                return unit.replace("_", " "), found
        return "", []


def summary_markdown(log: TrainingLog) -> str:
    """The run in a few sentences and tables."""
    parts = [
        _sentence(log),
        _stop_sentence(log),
        "\n".join(skipped_rows(log)),
        "\n".join(group_rows(log)),
        "\n".join(epoch_rows(log.last("done"))),
        "\n\n".join(sample_quotes(log.last("samples"))),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def skipped_rows(log: TrainingLog) -> list[str]:
    """The batches of which no update was made, as a Markdown table, where there are any."""
    skipped, done = log.of("skipped"), log.last("done")
    num_skipped = done.get("skipped_batches", len(skipped))
    num_back = done.get("rollbacks", len(log.of("rolled_back")))
    if not num_skipped:
        return []
    after = f", after {num_back} rollback{'s' * (num_back != 1)}" if num_back else ""
    rows = [
        f"Of {num_skipped} batch{'es' * (num_skipped != 1)} no update was made{after}; "
        "`bloomery lineage ARTIFACT --skipped` lists their documents.",
        "",
        "| step | documents | why |",
        "|---:|---:|---|",
    ]
    for event in skipped[:_MAX_ROWS]:
        num_documents = sum(map(len, event["documents"].values()))
        rows.append(f"| {event['step']:,} | {num_documents:,} | {event['why']} |")
    return rows


def group_rows(log: TrainingLog) -> list[str]:
    """Held-out groups as a Markdown table: at the first evaluation, the best and the last."""
    unit, measured = log.by_group()
    if not measured:
        return []
    rows = [f"| held-out group | {unit}, first | lowest | last |", "|---|---:|---:|---:|"]
    for group in list(measured[-1][1])[:_MAX_ROWS]:
        values = [own[group] for _, own in measured if group in own]
        cells = (values[0], min(values), values[-1])
        rows.append(f"| {_cell(group)} | " + " | ".join(f"{v:.3f}" for v in cells) + " |")
    return rows


def epoch_rows(done: Event) -> list[str]:
    """How often each source was gone through, as a Markdown table, the most often first."""
    epochs = done.get("epochs") or {}
    if not epochs:
        return []
    rows = ["| source | tokens seen | epochs |", "|---|---:|---:|"]
    for source, times in sorted(epochs.items(), key=lambda item: -item[1])[:_MAX_ROWS]:
        rows.append(f"| {_cell(source)} | {done['tokens'].get(source, 0):,} | {times:.2f} |")
    return rows


def sample_quotes(event: Event) -> Iterable[str]:
    """What the model wrote, as quotes in Markdown that nothing in them can end."""
    for sample in event.get("samples", ()):
        given = f"“{_cell(sample['prompt'])}”" if sample["prompt"] else "from nothing"
        yield f"*Step {event['step']}, {given}*"
        for way in ("greedy", "sampled"):
            text = sample[way][:_MAX_SAMPLE_CHARS].strip() or "(nothing)"
            yield f"{way}:\n\n" + "\n".join(f"    {line}" for line in text.splitlines())


def _sentence(log: TrainingLog) -> str:
    done = log.last("done")
    if not done:
        return ""
    seen = sum(done.get("tokens", {}).values())
    told = [f"{done['step']:,} steps on {seen:,} tokens"]
    if (loss := done.get(log.held_out())) is not None:
        bits = done.get(log.held_out("bits_per_byte"))
        in_bytes = f" ({bits:.3f} bits per byte)" if bits else ""
        told.append(f"held-out loss {loss:.3f} nats{in_bytes}")
    for field, text in (
        ("tokens_per_second", "{:,.0f} tokens a second"),
        ("mfu", "MFU {:.1%}"),
        ("data_wait_share", "{:.2%} of the time waiting for data"),
    ):
        if (value := log.usual(field)) is not None:
            told.append(text.format(value))
    if peak := log.last("step").get("peak_memory_bytes"):
        told.append(f"{peak / 2**20:,.0f} MiB at peak")
    return "; ".join(told) + "."


def _outlives(event: Event, step: int) -> bool:
    """Whether an event still holds after a return to ``step``; that there was a return does."""
    return event["event"] == "rolled_back" or event.get("step", 0) <= step


def _stop_sentence(log: TrainingLog) -> str:
    done, stopped = log.last("done"), log.last("early_stop")
    if "best_step" not in done:
        return ""
    kept = f"The model is that of step {done['best_step']}, where its held-out loss was lowest."
    if not stopped:
        return kept
    return (
        f"**Stopped early** at step {stopped['step']} of {log.last('start').get('steps', '?')}: "
        f"the held-out loss no longer fell. {kept}"
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")

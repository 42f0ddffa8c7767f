"""What the commands share: options, and what is read from them.

In: what a user typed. Out: a parameter tree, a machine, a store; tables.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from flows.params import Params
    from tasks.common.stage import Machine
    from tasks.common.store import Store

MACHINE = "machine"


def params_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose a parameter tree."""
    options = [
        click.option("--preset", help="demo, small or base.  [default: demo]"),
        click.option(
            "--params",
            "params_file",
            type=click.Path(path_type=Path),
            help="A YAML or JSON file of parameters; `bloomery params` prints one to start from.",
        ),
        click.option(
            "--set",
            "changes",
            multiple=True,
            metavar="PATH=VALUE",
            help="Change one parameter, e.g. --set train.steps=200; may be repeated. "
            "machine.… is of this machine, e.g. --set machine.num_training_processes=8.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where and how to work; none of them changes a result."""
    options = [
        click.option("--store", help="Folder or s3://… URL of artifacts.  [default: ./store]"),
        click.option("--workers", type=click.IntRange(1), help="Processes.  [default: all cores]"),
        click.option(
            "--device", type=click.Choice(["auto", "cpu", "cuda"]), help="[default: auto]"
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


store_option = click.option("--store", help="Folder or s3://… URL.  [default: ./store]")
json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


def read_params(preset: str | None, params_file: Path | None, changes: Sequence[str]) -> "Params":
    """The tree of a preset or file with changes; ValueError says what is wrong with it."""
    from flows.params import Params, parse_model, with_changes
    from flows.presets import PRESETS

    if preset and params_file:
        raise ValueError("give --preset or --params, not both")
    if preset and preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}; known: {', '.join(PRESETS)}")
    if params_file:
        import yaml

        try:
            values = yaml.safe_load(params_file.read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"{params_file} is not YAML: {error}") from error
        values = parse_model(Params, values).model_dump(mode="json")
    else:
        values = PRESETS[preset or "demo"].model_dump(mode="json")
    own = [change for change in changes if not is_of_machine(change)]
    tree: Params = parse_model(Params, with_changes(values, own))
    return tree


def machine_of(
    store: str | None = None,
    workers: int | None = None,
    device: str | None = None,
    changes: Sequence[str] = (),
) -> "Machine":
    """Where and how to work, as far as it was said: by options, and by ``machine.…`` of --set."""
    from tasks.common.stage import Machine

    given: Mapping[str, Any] = {"store": store, "num_workers": workers, "device": device}
    machine = Machine(**{name: value for name, value in given.items() if value is not None})
    own = [change for change in changes if is_of_machine(change)]
    if not own:  # the others need not wait for what reads these
        return machine
    from flows.params import parse_model, with_changes

    changed: Machine = parse_model(
        Machine, with_changes({MACHINE: machine.model_dump(mode="json")}, own)[MACHINE]
    )
    return changed


def is_of_machine(change: str) -> bool:
    """Whether a ``--set`` is of where and how to work, not of what to make."""
    return change.strip().startswith(f"{MACHINE}.")


def store_at(url: str | None) -> "Store":
    """The store at a folder or URL, or the default one."""
    from tasks.common.store import Store

    return Store(machine_of(url).store)


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows in columns; None is printed as nothing."""
    cells = [tuple("" if cell is None else str(cell) for cell in row) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())

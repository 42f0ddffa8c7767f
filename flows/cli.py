"""The command line: ``bloomery``.

In: what a user types. Out: runs, plans, tables. A user's mistake is one clear line and exit code 2.
Prefect and torch take seconds to import and are imported only where they are used.
"""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from flows import models, prefect_env, tracing
from flows.options import (
    is_of_machine,
    json_option,
    machine_of,
    machine_options,
    params_options,
    print_table,
    read_params,
    store_at,
    store_option,
)
from model.process import TrainingStopped
from tasks.common.report_markdown import funnel_rows, size_text, stage_markdown

FLOWS = ("pipeline", "curate", "mixture-search", "train", "evaluate")
MIXED_STAGES = ("mix", "tokens")
DATA_STAGES = (
    *("crawl", "extract", "filter", "dedup", "passages"),
    *("classifiers", "classify", "mix"),
)
EXIT_USER_ERROR = 2
EXIT_FAILED = 1


class UserErrors(click.Group):
    """Turns what a user can mend into one line and exit code 2, and what gave up into 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, BrokenPipeError):  # --help, and a reader that has enough
            raise
        except (ValueError, OSError) as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(EXIT_USER_ERROR)
        except (RuntimeError, TrainingStopped) as error:  # a trainer, a worker or a server gave up
            click.echo(f"error: {error}", err=True)
            ctx.exit(EXIT_FAILED)


@click.group(cls=UserErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bloomery")
def main() -> None:
    """From raw web pages to an aligned language model, every result cached and traceable.

    \b
    bloomery plan pipeline              what is cached and what would run
    bloomery run pipeline               pages → model → report, no server needed
    bloomery up                         Prefect's UI, workers and schedules
    bloomery lineage model/demo         what a model was made from
    bloomery explain URL                what became of a page, stage by stage, and why
    bloomery takedown LIST              what some pages touch, and everything again without them
    """


flow_argument = click.argument("flow", type=click.Choice(FLOWS))


@main.command()
@flow_argument
@params_options
@machine_options
def run(
    flow: str,
    preset: str | None,
    params_file: Path | None,
    changes: Sequence[str],
    store: str | None,
    workers: int | None,
    device: str | None,
) -> None:
    """Run a flow here and now; recorded by a running `bloomery up`, and fine without one.

    What an earlier run made of the same values is found in the store and not made again. A run
    that was killed goes on where it was when the same command is given again.

    \b
    A model to train on, with its own tokenizer, in place of a new one:
      --set train.start.checkpoint=pretrain/0123456789abcdef    of the store
      --set train.start.folder=FOLDER    of yours; `bloomery import-hf` makes one
    With a longer context: --set train.seq_len=8192 --set train.start.positions=yarn
    \b
    On several GPUs, without another result:
      --set machine.num_training_processes=8 --set machine.training.data=fsdp
    """
    params = read_params(preset, params_file, changes)
    machine = machine_of(store, workers, device, changes)
    prefect_env.configure()
    from flows.launch import run_here
    from flows.planning import ready_plan

    ready_plan(flow, params, machine)  # what is missing is found before anything is started
    click.echo(run_here(flow, params, machine))


@main.command()
@flow_argument
@params_options
@store_option
@json_option
def plan(
    flow: str,
    preset: str | None,
    params_file: Path | None,
    changes: Sequence[str],
    store: str | None,
    as_json: bool,
) -> None:
    """Print, stage by stage, what is cached and what would run and why; run nothing."""
    params, machine = read_params(preset, params_file, changes), machine_of(store, changes=changes)
    prefect_env.configure()
    from flows.planning import check_flow, plan_flow

    check_flow(flow, params, machine)
    stages = plan_flow(flow, params, machine).stages
    if as_json:
        rows = [
            {"stage": s.label, "artifact": str(s.ref), "cached": s.cached, "why": s.why}
            for s in stages
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    print_table(
        ("stage", "artifact", "", "why"),
        ((s.label, str(s.ref), "cached" if s.cached else "run", s.why) for s in stages),
    )
    num_cached = sum(s.cached for s in stages)
    click.echo(f"{num_cached} cached, {len(stages) - num_cached} to run")


@main.command()
@params_options
def params(preset: str | None, params_file: Path | None, changes: Sequence[str]) -> None:
    """Print a parameter tree as YAML, to edit and give back with --params."""
    import yaml

    if of_machine := [change for change in changes if is_of_machine(change)]:
        raise ValueError(f"--set {of_machine[0]} is no parameter; give it to `bloomery run`")
    tree = read_params(preset, params_file, changes).model_dump(mode="json")
    click.echo(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), nl=False)


@main.command("ls")
@click.argument("stage", required=False)
@store_option
@json_option
def list_artifacts(stage: str | None, store: str | None, as_json: bool) -> None:
    """List the artifacts of the store, or of one stage, oldest first."""
    found = store_at(store)
    names = {str(ref): name for name, ref in found.names().items()}
    manifests = sorted(found.manifests(stage), key=lambda m: m.provenance.started_at)
    if as_json:
        click.echo(json.dumps([_brief(m, names) for m in manifests], indent=1))
        return
    rows = []
    for manifest in manifests:
        rows.append(
            (
                str(manifest.ref),
                manifest.label or names.get(str(manifest.ref), ""),
                f"{manifest.funnel.num_kept:,} docs" if manifest.funnel else "",
                size_text(manifest.total_bytes),
                f"{manifest.provenance.wall_seconds:.1f} s",
                manifest.provenance.started_at,
            )
        )
    print_table(("artifact", "name", "kept", "size", "time", "made at"), rows)


@main.command()
@click.argument("artifact")
@click.option("--verify", is_flag=True, help="Read every file and compare its checksum.")
@store_option
@json_option
def show(artifact: str, verify: bool, store: str | None, as_json: bool) -> None:
    """Show one artifact: its configuration, inputs, funnel, files and cost.

    ARTIFACT is stage/fingerprint, a unique beginning of it, or a name such as model/demo.
    """
    found = store_at(store)
    ref = found.resolve(artifact)
    manifest = found.manifest(ref)
    if as_json:
        click.echo(manifest.model_dump_json(indent=1))
    else:
        click.echo(stage_markdown(manifest, was_cached=False))
        click.echo(f"\nAt {found.path(ref)}\n\nConfiguration:")
        click.echo(json.dumps(manifest.identity.config, indent=1, ensure_ascii=False))
        print_table(
            ("file", "size", "rows"), ((f.name, size_text(f.bytes), f.rows) for f in manifest.files)
        )
    if verify:
        problems = found.verify(ref)
        if problems:
            raise ValueError(f"{ref} is damaged: {'; '.join(problems)}")
        click.echo("verified: every file is as it was sealed", err=True)


@main.command()
@click.argument("artifact")
@click.option(
    "--tokens",
    "num_tokens",
    type=click.IntRange(1),
    help="Length of the run.  [default: the mixture's token budget]",
)
@store_option
@json_option
def mixture(artifact: str, num_tokens: int | None, store: str | None, as_json: bool) -> None:
    """Print the GPT-3 table of a mixture: quantity, weight in the mix, epochs elapsed.

    ARTIFACT is what mix or tokens made, or a name such as corpus/demo. Tokens are estimates before
    the tokenizer and counts after it.
    """
    from tasks.common.mix_table import gpt3_rows, mixture_markdown
    from tasks.common.mixture import read_mixture

    found = store_at(store)
    ref = found.resolve(artifact)
    if ref.stage not in MIXED_STAGES:
        raise ValueError(f"{ref} is no mixture; those are made by {' and '.join(MIXED_STAGES)}")
    table = read_mixture(found.open(ref))
    if not as_json:
        click.echo(mixture_markdown(table, num_tokens))
        return
    columns = ("group", "tokens", "weight", "taken_tokens", "epochs")
    rows = [dict(zip(columns, row, strict=True)) for row in gpt3_rows(table, num_tokens)]
    exact = {"are_counts_exact": table["are_counts_exact"]}
    click.echo(json.dumps(exact | {"groups": rows, "phases": table["phases"]}, indent=1))


@main.command("rm")
@click.argument("artifact")
@store_option
def remove(artifact: str, store: str | None) -> None:
    """Remove one artifact; a run that needs it makes it again."""
    found = store_at(store)
    ref = found.resolve(artifact)
    found.delete(ref)
    click.echo(f"removed {ref}")


@main.command()
@click.argument("name", type=click.Choice(DATA_STAGES))
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="PATH…",
    help="WARC, JSONL or Parquet files, or folders of them; several may follow.",
)
@click.argument("more", nargs=-1, metavar="")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change one setting.")
@click.option("--workers", type=click.IntRange(1), help="Processes.  [default: all cores]")
def stage(
    name: str,
    inputs: Sequence[str],
    more: Sequence[str],
    output: Path,
    changes: Sequence[str],
    workers: int | None,
) -> None:
    """Run one data stage on plain files and leave an ordinary artifact folder.

    \b
    bloomery stage extract --input pages.warc.gz --output texts
    bloomery stage filter --input texts --output kept --set gopher_quality.min_words=30
    bloomery stage classifiers --input kept --output judges --set 'toxicity.files=[toxic.jsonl]'
    bloomery stage classify --input kept --input judges --output scored
    bloomery stage crawl --output pages --set type=common-crawl \\
      --set crawl_id=CC-MAIN-2026-43 --set 'registered_domains=[python.org]'
    """
    from flows.single import run_stage

    _log_to_console()
    manifest = run_stage(name, [*inputs, *more], output, changes, machine_of(None, workers))
    if manifest.funnel:
        click.echo("\n".join(funnel_rows(manifest.funnel)))
    click.echo(f"{output}: {len(manifest.files)} files, {size_text(manifest.total_bytes)}")


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=4200, show_default=True)
@click.option("--workers/--no-workers", default=True, help="Start workers for pools cpu and gpu.")
def up(host: str, port: int, workers: bool) -> None:
    """Start Prefect's server with its UI, register the deployments, start the workers."""
    prefect_env.configure()
    from flows import services

    services.up(host=host, port=port, workers=workers)


@main.command()
def down() -> None:
    """Stop what `bloomery up` started here; running trainers save a checkpoint first."""
    prefect_env.configure()
    from flows import services

    services.down()


@main.command()
def status() -> None:
    """Say what `bloomery up` has running here."""
    prefect_env.configure()
    from flows import services

    sys.exit(0 if services.status() else 1)


def _log_to_console() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s  %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("bloomery")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _brief(manifest: Any, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "artifact": str(manifest.ref),
        "label": manifest.label,
        "name": names.get(str(manifest.ref)),
        "bytes": manifest.total_bytes,
        "kept": manifest.funnel.num_kept if manifest.funnel else None,
        "wall_seconds": manifest.provenance.wall_seconds,
        "started_at": manifest.provenance.started_at,
    }


for command in (tracing.explain, tracing.lineage, tracing.takedown, *models.COMMANDS):
    main.add_command(command)

if __name__ == "__main__":
    main()

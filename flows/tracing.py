"""The commands that follow a page through the store: ``explain``, ``lineage`` and ``takedown``.

In: addresses, hosts, ids or artifacts, as a user types them. Out: tables, or JSON. Looking is left
to ``tasks.common.trace`` and ``story``, doing to ``flows.takedown``.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.options import (
    json_option,
    machine_of,
    machine_options,
    params_options,
    print_table,
    read_params,
    store_at,
    store_option,
)

if TYPE_CHECKING:
    from flows.takedown import Rebuild, Request
    from flows.takedown_record import Record
    from tasks.common.manifest import Manifest
    from tasks.common.stage import Machine
    from tasks.common.store import Store
    from tasks.common.story import Answer, Step, Story
    from tasks.common.trace import Footprint

CORPUS_NAMES = "corpus/"


@click.command()
@click.argument("url")
@click.option(
    "--corpus",
    metavar="ARTIFACT",
    help="Look only at what this was made from.  [default: every corpus/… of the store]",
)
@click.option("--source", help="Tell only of documents of this source.")
@store_option
@json_option
def explain(
    url: str, corpus: str | None, source: str | None, store: str | None, as_json: bool
) -> None:
    """Tell what became of a page, stage by stage, and why.

    URL is an address in any spelling, or a document's id. Of each document that was made of the
    page it is told where it was kept, what was changed in it, where and why it was dropped, which
    copy stands in its place, and in which group and set of the mixture it ended.
    """
    from tasks.common.story import explain as tell

    found = store_at(store)
    answer = tell(found, _scope(found, corpus), url)
    if source:
        seen_in = sorted({story.source for story in answer.stories if story.source})
        stories = [story for story in answer.stories if story.source == source]
        answer = answer.model_copy(update={"stories": stories})
    if as_json:
        click.echo(answer.model_dump_json(indent=1))
    elif source and seen_in and source not in seen_in:
        click.echo(f"not of source {source}; of: {', '.join(seen_in)}")
    else:
        click.echo("\n".join(_told(answer)))


def _scope(store: "Store", corpus: str | None) -> "list[Manifest]":
    """The artifacts that the corpus, or every named one, was made from; else all there are."""
    from tasks.common.trace import made_of

    manifests = list(store.manifests())
    if corpus:
        return made_of(manifests, store.resolve(corpus))
    named = [ref for name, ref in store.names().items() if name.startswith(CORPUS_NAMES)]
    in_scope = {str(m.ref): m for ref in named for m in made_of(manifests, ref)}
    return list(in_scope.values()) or manifests


def _told(answer: "Answer") -> Iterator[str]:
    if not answer.stories:
        yield f"never seen: no crawl and no document here has {answer.asked}"
        if answer.below:
            yield f"there are {answer.num_below} addresses below it, such as:"
            yield from (f"  {url}" for url in answer.below)
    for number, story in enumerate(answer.stories):
        if number:
            yield ""
        yield from _story_lines(story)


def _story_lines(story: "Story", indent: str = "") -> Iterator[str]:
    if story.id:
        yield f"{indent}{story.url}  document {story.id} of {story.source}"
    else:
        last = story.steps[-1]
        what = f"never read: {last.reason}" if last.reason else "fetched, but no document yet"
        yield f"{indent}{story.url}  {what}"
    for step in story.steps:
        yield f"{indent}  {step.artifact[:24]:24}  {' · '.join(_step_words(step))}"
    if story.instead:
        yield f"{indent}  in its place was kept:"
        yield from _story_lines(story.instead, indent + "    ")


def _step_words(step: "Step") -> Iterator[str]:
    yield f"{step.outcome} in {step.place}" if step.place else step.outcome
    if step.reason:
        yield f"{step.reason}: {step.detail}" if step.detail else step.reason
    for name, value in step.facts.items():
        yield f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {_plain(value)}"
    if edits := step.edits:
        yield f"{edits['lines_removed']} lines taken out, {edits['lines_added']} put in"
        yield f"{edits['characters']:+,} characters"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@click.command()
@click.argument("artifact", required=False)
@click.option("--down", is_flag=True, help="What was made from it, instead of what made it.")
@click.option("--url", metavar="URL|HOST", help="Which artifacts hold, or were made from, it.")
@click.option("--urls", "listed", flag_value="urls", help="The addresses behind ARTIFACT.")
@click.option("--hosts", "listed", flag_value="hosts", help="The same counted by host.")
@click.option(
    "--sources", "listed", flag_value="sources", help="The same by source, subject and licence."
)
@click.option(
    "--skipped", "listed", flag_value="skipped", help="Those in batches that training left out."
)
@store_option
@json_option
def lineage(
    artifact: str | None,
    down: bool,
    url: str | None,
    listed: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Print what an artifact was made from, or with --down what was made from it.

    \b
    bloomery lineage model/demo                 the artifacts behind a model
    bloomery lineage model/demo --sources       the sources and licences behind it, counted
    bloomery lineage model/demo --urls --json   every document behind it, one JSON object a line
    bloomery lineage model/demo --skipped       documents in batches that training left out
    bloomery lineage --url example.org          which artifacts and models have seen a site
    """
    if bool(artifact) == bool(url):
        raise ValueError("give an artifact, or --url URL|HOST: one of the two")
    if listed and (url or down):
        with_what = "--url" if url else "--down"
        raise ValueError(f"--{listed} lists what is behind an artifact; leave {with_what} out")
    if url and down:
        raise ValueError("--url already tells what was made from it; leave --down out")
    found = store_at(store)
    if url:
        _lineage_of_url(found, url, as_json)
    elif artifact and listed == "skipped":
        _left_out(found, artifact, as_json)
    elif artifact and listed:
        _documents_behind(found, artifact, listed, as_json)
    elif artifact:
        _lineage_of_artifact(found, artifact, down, as_json)


def _lineage_of_artifact(store: "Store", artifact: str, down: bool, as_json: bool) -> None:
    from tasks.common.lineage import walk

    nodes = list(walk(store, store.resolve(artifact), down=down))
    if as_json:
        click.echo(json.dumps([node.model_dump() for node in nodes], indent=1))
        return
    for node in nodes:
        click.echo(f"{'  ' * node.depth}{node.artifact} {node.label}{'  …' * node.seen_before}")


def _lineage_of_url(store: "Store", url: str, as_json: bool) -> None:
    from tasks.common.trace import Wanted, footprints
    from tasks.common.url_list import UrlList

    listed = UrlList([url])
    if not len(listed):
        raise ValueError(f"{url!r} is neither an address nor a host")
    touched = footprints(store, Wanted(urls=listed))
    if as_json:
        click.echo(json.dumps([f.model_dump() for f in touched], indent=1))
    elif touched:
        print_footprints(touched)
    else:
        click.echo(f"never seen: no artifact in {store.url} holds {url}")


def print_footprints(footprints: "Sequence[Footprint]") -> None:
    """A line an artifact: how it is touched, by how many documents, or why it is not."""
    print_table(
        ("artifact", "name", "touched", "documents", "dropped"),
        (
            (
                f.artifact,
                ", ".join(f.names) or f.label,
                f.touch.replace("_", " "),
                f"{f.num_kept:,}" if f.num_kept else "",
                ", ".join(f"{reason} {count:,}" for reason, count in f.dropped.items())
                or "before it, by " * bool(f.spared_by) + ", ".join(f.spared_by),
            )
            for f in footprints
        ),
    )


def _left_out(store: "Store", artifact: str, as_json: bool) -> None:
    from tasks.common.left_out import as_lines, documents_left_out

    rows = documents_left_out(store, list(store.manifests()), store.resolve(artifact))
    for line in as_lines(rows, as_json=as_json):
        click.echo(line)


def _documents_behind(store: "Store", artifact: str, listed: str, as_json: bool) -> None:
    from tasks.common.trace import documents_behind

    behind = documents_behind(store.manifests(), store.resolve(artifact))
    if not behind:
        raise ValueError(f"{artifact} was made from no documents that are still in the store")
    if listed == "urls":
        _print_urls(store, behind, as_json)
    else:
        _print_counts(store, behind, listed, as_json)


def _print_urls(store: "Store", behind: "Sequence[Manifest]", as_json: bool) -> None:
    """One document a line, as they are read: there may be very many."""
    from tasks.common.trace import kept_rows

    columns = ("url", "source", "domain", "licence")
    for manifest in behind:
        for place, rows in kept_rows(store, manifest, columns):
            for row in rows:
                if as_json:
                    click.echo(
                        json.dumps({**row, "artifact": str(manifest.ref), "set": place or None})
                    )
                else:
                    click.echo("\t".join(row[name] or "" for name in columns))


def _print_counts(store: "Store", behind: "Sequence[Manifest]", listed: str, as_json: bool) -> None:
    from tasks.common.trace import count_kept

    header = {"hosts": ("host",), "sources": ("source", "domain", "licence")}[listed]
    counts: Counter[tuple[str, ...]] = Counter()
    for manifest in behind:
        for key, number in count_kept(store, manifest, by=listed).items():
            counts[str(manifest.ref), *key] += number
    rows = [(*key, number) for key, number in sorted(counts.items())]
    names = ("artifact", "set", *header, "documents")
    if as_json:
        click.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=1))
    else:
        print_table(names, [(*row[:-1], f"{row[-1]:,}") for row in rows])


@click.command()
@click.argument("list_file", metavar="LIST", type=click.Path(path_type=Path))
@params_options
@machine_options
@click.option("--rebuild", is_flag=True, help="Make the corpus, and all behind it, without them.")
@click.option(
    "--keep-copies", is_flag=True, help="Leave copies of what is named in, exact and near ones."
)
@click.option("--purge", is_flag=True, help="Delete what the rebuild has replaced.")
@click.option(
    "--include-sources",
    is_flag=True,
    help="With --purge, also archives and texts that still hold the pages.",
)
@click.option("--yes", is_flag=True, help="Do not ask before anything is deleted.")
@json_option
def takedown(
    list_file: Path,
    preset: str | None,
    params_file: Path | None,
    changes: Sequence[str],
    store: str | None,
    workers: int | None,
    device: str | None,
    rebuild: bool,
    keep_copies: bool,
    purge: bool,
    include_sources: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Find what LIST names in the store, and with --rebuild make everything again without it.

    LIST is a file of hosts and addresses, one a line. Without options it is only said what they
    touch; with the parameters of the corpus, also what a rebuild costs. A rebuild finds crawls,
    extracted texts and filters made, decides anew about the rest, moves the names to the new
    artifacts, looks for the pages in them, and leaves a record under takedowns/ in the store.
    Nothing is deleted without --purge.
    """
    from flows import prefect_env

    prefect_env.configure()
    from flows import takedown as doing

    changing = rebuild or purge
    if include_sources and not purge:
        raise ValueError("--include-sources says what --purge deletes; give both")
    machine, request = machine_of(store, workers, device, changes), doing.Request.read(list_file)
    if request.urls.unreadable and changing:
        raise ValueError(f"{_unreadable(request.urls.unreadable)}; mend them, or begin them with #")
    params = read_params(preset, params_file, changes)
    record = doing.look(request, store_at(store), params.name)
    again = None
    if changing or preset or params_file or changes:
        again = doing.Rebuild(params, request, machine, keep_copies=keep_copies)
        record = record.model_copy(update={"remade": again.remade, "cached": again.cached})
    if not as_json:
        _print_findings(record)
    if again and changing and record.num_documents:
        agree = partial(_agree, yes=yes)
        record = _take_down(record, request, again, machine, rebuild, purge, include_sources, agree)
    if as_json:
        click.echo(record.model_dump_json(indent=1))


def _take_down(
    record: "Record",
    request: "Request",
    again: "Rebuild",
    machine: "Machine",
    rebuild: bool,
    purge: bool,
    include_sources: bool,
    agree: Callable[["Store", Sequence[str]], None],
) -> "Record":
    """Make again, look for what should be gone, delete what was asked for, and leave the record."""
    from flows import takedown as doing
    from flows.launch import run_here
    from flows.takedown_record import SETTING, first_documents, leave_record
    from tasks.common.trace import Wanted, footprints

    found = store_at(machine.store)
    before = found.names()
    for flow in again.flows() if rebuild else ():
        run_here(flow, again.params, machine)
    if not again.is_made():
        raise ValueError("nothing stands in the place of what --purge would delete: --rebuild it")
    copies = again.copies_taken()
    wanted = Wanted(urls=request.urls, ids=frozenset(copy.id for copy in copies))
    proof = again.proof(wanted)
    names = {} if proof.problems else again.move_names()
    for name, ref in before.items() if proof.problems else ():
        found.give_name(name, ref)  # flows give names before anything is proved
    held = again.sort_out(footprints(found, wanted))
    doomed = held.replaced + held.sources * include_sources if purge and not proof.problems else []
    if doomed:
        agree(found, doomed)
        doing.purge(found, doomed)
    record = record.model_copy(
        update={
            "num_copies": len(copies),
            "copies": first_documents(copies),
            "names": names,
            "proof": proof,
            "replaced": [ref for ref in held.replaced if ref not in doomed],
            "sources": [ref for ref in held.sources if ref not in doomed],
            "learned": held.learned,
            "needed_by_names": held.named,
            "purged": doomed,
        }
    )
    where = leave_record(found, record)
    click.echo(f"record: {where}", err=True)
    settings = [f"{SETTING}={again.params.dedup.takedown}"]
    settings += [f"{SETTING}_copies=false"] * (not again.params.dedup.takedown_copies)
    click.echo(f"from now on run with {' '.join(settings)}, or they come back", err=True)
    if proof.problems:
        raise RuntimeError(f"still there after the rebuild: {'; '.join(proof.problems[:3])}")
    return record


def _agree(store: "Store", doomed: Sequence[str], *, yes: bool) -> None:
    for artifact in doomed:
        click.echo(f"delete {artifact}", err=True)
    if not yes:
        click.confirm(
            f"Delete these {len(doomed)} artifacts of {store.url} for good?", abort=True, err=True
        )


def _print_findings(record: "Record") -> None:
    if record.unreadable:
        click.echo(_unreadable(record.unreadable))
    if not record.num_documents:
        click.echo(f"nothing in {record.store} is named by {record.list_name}")
        return
    click.echo(
        f"{len(record.entries)} entries name {record.num_documents} documents; "
        f"{record.num_copies} more are known as copies of them"
    )
    print_footprints(record.touched)
    if record.remade:
        click.echo("\nto be made again, at what it cost before:")
        print_table(
            ("stage", "artifact", "seconds", "CPU seconds"),
            [
                (each.stage, each.old, f"{each.wall_seconds:.1f}", f"{each.cpu_seconds:.1f}")
                for each in record.remade
            ],
        )
        wall = sum(each.wall_seconds for each in record.remade)
        cpu = sum(each.cpu_seconds for each in record.remade)
        click.echo(f"together {wall:.1f} s, {cpu:.1f} s of CPU")
        click.echo(f"stays as it is: {', '.join(record.cached)}")


def _unreadable(lines: Sequence[str]) -> str:
    few = ", ".join(map(repr, lines[:3]))
    return f"{len(lines)} lines of the list are neither hosts nor addresses, such as {few}"

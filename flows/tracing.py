"""The commands that follow a page through the store: ``explain``, ``lineage`` and ``takedown``.

In: addresses, hosts, ids or artifacts, as a user types them. Out: tables, or JSON. Looking is left
to ``tasks.common.trace`` and ``story``, doing to ``flows.takedown``.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from flows.options import (
    json_option,
    print_table,
    store_at,
    store_option,
)

if TYPE_CHECKING:
    from tasks.common.manifest import Manifest
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
        stories = [story for story in answer.stories if story.source == source]
        answer = answer.model_copy(update={"stories": stories})
    if as_json:
        click.echo(answer.model_dump_json(indent=1))
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
    bloomery lineage --url example.org          which artifacts and models have seen a site
    """
    if bool(artifact) == bool(url):
        raise ValueError("give an artifact, or --url URL|HOST: one of the two")
    found = store_at(store)
    if url:
        _lineage_of_url(found, url, as_json)
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
    from tasks.common.trace import Trail, Wanted, find
    from tasks.common.url_list import UrlList

    listed = UrlList([url])
    if not len(listed):
        raise ValueError(f"{url!r} is neither an address nor a host")
    manifests = list(store.manifests())
    trail = Trail()
    for _ in trail.follow(find(store, manifests, Wanted(urls=listed))):
        pass
    footprints = trail.footprints(manifests, store.names())
    if as_json:
        click.echo(json.dumps([f.model_dump() for f in footprints], indent=1))
    elif footprints:
        print_footprints(footprints)
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

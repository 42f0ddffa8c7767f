"""The crawl stage. In: one source's configuration. Out: its raw pages as standard WARC files.

Each ``*.warc.gz`` (or other archive) of the artifact is one shard for extract; ``pages.parquet``
says of every URL or file that was seen what became of it. Reading what is inside a page is left to
extract; here nothing is parsed but links.
"""

import sys
from typing import Any

from tasks.common.funnel import Funnel
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.crawl import python_docs
from tasks.crawl.answer import UNCHANGED
from tasks.crawl.code import folder_licences
from tasks.crawl.common_crawl import identity_fields, take_common_crawl
from tasks.crawl.config import SourceConfig
from tasks.crawl.files import checksums, source_files, take_archives, take_files
from tasks.crawl.refresh import NOT_DUE
from tasks.crawl.urls import normalise
from tasks.crawl.web import crawl_web

# What every source is, and what decides the pages of each type beside it. Pace is left out: it
# changes how long a crawl takes, not what it finds.
COMMON_FIELDS = ("name", "type", "kind", "domain", "licence")
LIMIT_FIELDS = (
    "include",
    "exclude",
    "max_pages",
    "max_page_bytes",
    "max_total_bytes",
    "max_depth",
    "timeout_seconds",
    "user_agent",
    "follow_sitemaps",
    "max_sitemap_urls",
    "strip_parameters",
    "max_urls_per_host",
    "max_urls_per_pattern",
    "max_known_urls",
    "respect_robots_txt",
    "robots_agents",
    "respect_robots_tags",
    "respect_opt_out",
)
WEB_FIELDS = (
    "snapshot",
    "allow_private_addresses",
    "private_hosts",
    "refresh_of",
    "min_recrawl_days",
    "max_recrawl_days",
)
TYPE_FIELDS = {
    "web": (*LIMIT_FIELDS, *WEB_FIELDS),
    "python-docs": LIMIT_FIELDS,
    "files": ("max_page_bytes", "max_pdf_bytes", "columns", "wiki_namespaces"),
    "code": ("max_page_bytes", "max_pdf_bytes"),
    "warc": (),
}


def identity(config: SourceConfig) -> dict[str, Any]:
    """What decides the pages of a source: its settings, and checksums in place of paths."""
    own = identity_fields(config) if config.type == "common-crawl" else TYPE_FIELDS[config.type]
    fields = {*COMMON_FIELDS, *own}
    values = config.model_dump(mode="json", include=fields)
    if config.type == "web":
        values["seeds"] = [normalise(seed) for seed in config.seeds]
    elif config.type == "python-docs":
        values["python"] = f"{sys.version} on {sys.platform}"
        values["modules"] = list(python_docs.module_names())
    elif config.type in ("files", "warc", "code"):
        values["files"] = checksums(config)
    if config.type == "code":
        values["licences"] = folder_licences(source_files(config))
    return values


def run(context: StageContext, config: SourceConfig) -> Outcome:
    """Bring the pages of one source in."""
    outcome = _bring_in(context, config)
    if outcome.funnel and not outcome.funnel.num_kept and not _is_known(outcome.funnel):
        context.workspace.discard()  # or the next attempt would find these refusals committed
        raise ValueError(
            f"source {config.name!r} gave no pages, which is no result to keep: "
            f"{outcome.funnel.dropped}; look at the network, the seeds and the rules, and run again"
        )
    return outcome


def _is_known(funnel: Funnel) -> bool:
    """Whether a refresh found all as it was, which is a result."""
    return any(reason in funnel.dropped for reason in (UNCHANGED, NOT_DUE))


def _bring_in(context: StageContext, config: SourceConfig) -> Outcome:
    if config.type == "warc":
        return take_archives(context, config)
    if config.type in ("files", "code"):
        return take_files(context, config)
    if config.type == "web":
        return crawl_web(context, config, context.machine.connect_to, config.snapshot)
    if config.type == "common-crawl":
        return take_common_crawl(context, config)
    return _crawl_python_docs(context, config)


def _crawl_python_docs(context: StageContext, config: SourceConfig) -> Outcome:
    """Serve the demo's site and crawl it as any other; at our own site there is no need to wait."""
    site = config.model_copy(update={"seeds": [python_docs.BASE_URL], "delay_seconds": 0.0})
    with python_docs.serving() as address:
        connect_to = {**context.machine.connect_to, python_docs.HOST: address}
        return crawl_web(context, site, connect_to, python_docs.SNAPSHOT)


STAGE = Stage(name="crawl", version=3, config=SourceConfig, inputs=(), run=run, identity=identity)

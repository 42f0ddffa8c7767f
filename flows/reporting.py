"""Showing a finished report where people look: by name in the store, and in the run's page."""

import logging

from prefect.artifacts import create_markdown_artifact

from flows.params import Params
from tasks.common.manifest import ArtifactRef
from tasks.common.stage import Machine
from tasks.common.store import Store

REPORT_HTML, REPORT_MARKDOWN = "report.html", "report.md"

log = logging.getLogger("bloomery.run")


def publish_report(params: Params, machine: Machine, ref: ArtifactRef) -> str:
    """Name the report, put it into the orchestrator's UI, and return where its HTML file is."""
    store = Store(machine.store)
    store.give_name(f"report/{params.name}", ref)
    artifact = store.open(ref)
    create_markdown_artifact(
        key=f"report-{params.name}",
        markdown=artifact.fetch(REPORT_MARKDOWN).read_text(),
        description=f"What {params.name} made, from pages to scores",
    )
    location = store.fs.unstrip_protocol(store.path(ref, REPORT_HTML)).removeprefix("file://")
    log.info("report: %s", location)
    return location

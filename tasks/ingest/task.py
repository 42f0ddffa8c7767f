"""The ingest stage as a Prefect task."""

from tasks.ingest.stage import STAGE
from tasks.common.stage_task import stage_task

ingest = stage_task(STAGE)

"""The ingest stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.ingest.stage import STAGE

ingest = stage_task(STAGE)

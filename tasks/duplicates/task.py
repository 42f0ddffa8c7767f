"""The duplicates stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.duplicates.stage import STAGE

duplicates = stage_task(STAGE)

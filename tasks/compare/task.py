"""The compare stage as a Prefect task."""

from tasks.compare.stage import STAGE
from tasks.common.stage_task import stage_task

compare = stage_task(STAGE)

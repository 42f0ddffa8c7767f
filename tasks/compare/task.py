"""The compare stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.compare.stage import STAGE

compare = stage_task(STAGE)

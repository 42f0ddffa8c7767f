"""The evaluate stage as a Prefect task."""

from tasks.evaluate.stage import STAGE
from tasks.common.stage_task import stage_task

evaluate = stage_task(STAGE)

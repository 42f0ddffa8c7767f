"""The evaluate stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.evaluate.stage import STAGE

evaluate = stage_task(STAGE)

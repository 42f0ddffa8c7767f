"""The filter stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.filter.stage import STAGE

filter = stage_task(STAGE)

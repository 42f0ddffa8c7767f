"""The dedup stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.dedup.stage import STAGE

dedup = stage_task(STAGE)

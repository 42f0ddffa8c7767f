"""The dpo stage as a Prefect task."""

from tasks.dpo.stage import STAGE
from tasks.common.stage_task import stage_task

dpo = stage_task(STAGE)

"""The dpo stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.dpo.stage import STAGE

dpo = stage_task(STAGE)

"""The regmix stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.regmix.stage import STAGE

regmix = stage_task(STAGE)

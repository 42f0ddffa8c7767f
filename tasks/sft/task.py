"""The sft stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.sft.stage import STAGE

sft = stage_task(STAGE)

"""The sft stage as a Prefect task."""

from tasks.sft.stage import STAGE
from tasks.common.stage_task import stage_task

sft = stage_task(STAGE)

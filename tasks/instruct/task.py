"""The instruct stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.instruct.stage import STAGE

instruct = stage_task(STAGE)

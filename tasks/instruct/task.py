"""The instruct stage as a Prefect task."""

from tasks.instruct.stage import STAGE
from tasks.common.stage_task import stage_task

instruct = stage_task(STAGE)

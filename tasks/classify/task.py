"""The classify stage as a Prefect task."""

from tasks.classify.stage import STAGE
from tasks.common.stage_task import stage_task

classify = stage_task(STAGE)

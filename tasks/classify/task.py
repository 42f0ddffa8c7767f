"""The classify stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.classify.stage import STAGE

classify = stage_task(STAGE)

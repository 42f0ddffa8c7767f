"""The passages stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.passages.stage import STAGE

passages = stage_task(STAGE)

"""The preferences stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.preferences.stage import STAGE

preferences = stage_task(STAGE)

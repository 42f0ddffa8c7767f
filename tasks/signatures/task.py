"""The signatures stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.signatures.stage import STAGE

signatures = stage_task(STAGE)

"""The tokens stage as a Prefect task."""

from tasks.tokens.stage import STAGE
from tasks.common.stage_task import stage_task

tokens = stage_task(STAGE)

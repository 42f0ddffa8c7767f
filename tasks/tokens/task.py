"""The tokens stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.tokens.stage import STAGE

tokens = stage_task(STAGE)

"""The tokenizer stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.tokenizer.stage import STAGE

tokenizer = stage_task(STAGE)

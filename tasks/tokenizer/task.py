"""The tokenizer stage as a Prefect task."""

from tasks.tokenizer.stage import STAGE
from tasks.common.stage_task import stage_task

tokenizer = stage_task(STAGE)

"""The pretrain stage as a Prefect task."""

from tasks.pretrain.stage import STAGE
from tasks.common.stage_task import stage_task

pretrain = stage_task(STAGE)

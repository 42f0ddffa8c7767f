"""The pretrain stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.pretrain.stage import STAGE

pretrain = stage_task(STAGE)

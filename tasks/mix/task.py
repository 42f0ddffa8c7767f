"""The mix stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.mix.stage import STAGE

mix = stage_task(STAGE)

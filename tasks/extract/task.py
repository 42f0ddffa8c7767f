"""The extract stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.extract.stage import STAGE

extract = stage_task(STAGE)

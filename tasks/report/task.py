"""The report stage as a Prefect task."""

from tasks.common.stage_task import stage_task
from tasks.report.stage import STAGE

report = stage_task(STAGE)

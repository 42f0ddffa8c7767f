"""The report stage as a Prefect task."""

from tasks.report.stage import STAGE
from tasks.common.stage_task import stage_task

report = stage_task(STAGE)

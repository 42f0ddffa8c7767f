"""The classifiers stage as a Prefect task."""

from tasks.classifiers.stage import STAGE
from tasks.common.stage_task import stage_task

classifiers = stage_task(STAGE)

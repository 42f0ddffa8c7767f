"""The crawl task. In: nothing but a source's configuration. Out: a crawl artifact."""

from tasks.common.stage_task import stage_task
from tasks.crawl.stage import STAGE

crawl = stage_task(STAGE)

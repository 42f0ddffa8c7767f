"""A stage's report shows what the stage drew."""

import base64
import re

from tasks.classifiers.config import ClassifiersConfig
from tasks.common.report_markdown import plots_of, stage_markdown
from tasks.common.store import Store
from tests.unit.classify.corpus import documents, train


def test_the_plots_of_an_artifact_are_in_its_report(machine):
    manifest, _ = train(machine, ClassifiersConfig(), documents())
    plots = plots_of(Store(machine.store).open(manifest.ref))
    report = stage_markdown(manifest, was_cached=False, plots=plots)
    found = re.findall(r"!\[(.*)\]\(data:image/png;base64,(.*)\)", report)
    assert [name for name, _ in found] == ["domain.png"]
    assert base64.b64decode(found[0][1]).startswith(b"\x89PNG")
    assert "domain.accuracy" in report

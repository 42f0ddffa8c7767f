"""From archive to filtered, MinHash-deduplicated Parquet: ours and datatrove's on the same files.

    python -m tests.benchmarks.pipeline --data PATH --datatrove-python PATH

``--data`` is a folder with ``pages/*.warc.gz``. All of them, or those named by ``--pages``, are
joined to one archive of the form that Common Crawl publishes. Both pipelines run whole, one process
each, in turn, as often as ``--rounds`` says; what counts is the CPU time (user and system, children
included) of the whole process, start-up and all, in the best of its rounds: other programs only
ever add to it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warcio.archiveiterator import ArchiveIterator
from warcio.warcwriter import WARCWriter

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECONDS_OF = {"ours": "CPU seconds", "datatrove": "seconds on the clock, which it counts itself"}
HOW_TO_INSTALL = """\
datatrove was not run. To compare with it, give it an environment of its own:
  python3 -m venv datatrove-env
  datatrove-env/bin/pip install -U pip
  datatrove-env/bin/pip install 'datatrove[io,processing]' spacy
  python -m tests.benchmarks.pipeline --data PATH --datatrove-python datatrove-env/bin/python
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one whole process cost and made."""

    cpu_seconds: float
    peak_bytes: int  # of the largest process of the run
    steps: list[dict[str, Any]]

    @property
    def documents(self) -> int:
        """Documents left at the end."""
        return int(self.steps[-1]["documents"])


def main() -> None:
    """Run both pipelines and print the comparison."""
    options = _options()
    archives = sorted(
        path for pattern in options.pages for path in options.data.glob(f"pages/{pattern}")
    )
    if not archives:
        raise SystemExit(f"no archive {options.pages} in {options.data}/pages; look at --data")
    runs: dict[str, list[Run]] = {"ours": [], "datatrove": []}
    with tempfile.TemporaryDirectory() as folder:
        pages = Path(folder, "pages.warc.gz")
        join_archives(archives, pages)
        for _ in range(options.rounds):
            runs["ours"].append(run_ours(pages))
            if options.datatrove_python:
                runs["datatrove"].append(run_datatrove(pages, options.datatrove_python))
    print(report({name: min(found, key=_cost) for name, found in runs.items() if found}))
    if not options.datatrove_python:
        print(HOW_TO_INSTALL)


def join_archives(archives: Sequence[Path], joined: Path) -> None:
    """Copy the pages of several archives into one, and name their type as Common Crawl does.

    Without that header datatrove asks libmagic, which takes half of the news pages for plain text.
    """
    with joined.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for path in archives:
            with path.open("rb") as source:
                for record in ArchiveIterator(source, no_record_parse=True):
                    if record.rec_type == "response":
                        record.rec_headers.add_header("WARC-Identified-Payload-Type", "text/html")
                        writer.write_record(record)


def run_ours(pages: Path) -> Run:
    """Our four stages in a fresh store."""
    with tempfile.TemporaryDirectory() as folder:
        return measure([sys.executable, "-m", "tests.benchmarks.own_pipeline", str(pages), folder])


def run_datatrove(pages: Path, python: Path) -> Run:
    """datatrove's four pipelines in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        script = str(HERE / "datatrove_pipeline.py")
        return measure([str(python), script, str(pages.parent), folder])


def measure(command: Sequence[str]) -> Run:
    """Run a command that prints its steps as its last line; count what it and its children used."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.stderr.write(log.read())
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; see above")
        output.seek(0)
        steps = json.loads(output.read().splitlines()[-1])
    return Run(
        cpu_seconds=usage.ru_utime + usage.ru_stime, peak_bytes=usage.ru_maxrss * 1024, steps=steps
    )


def report(runs: dict[str, Run]) -> str:
    """The comparison as text."""
    num_pages = next(step["num_in"] for step in runs["ours"].steps if step["step"] == "extract")
    lines = [f"{num_pages} pages", ""]
    lines.append(f"{'':12}{'pages/s/core':>14}{'CPU s':>9}{'peak MB':>9}{'kept':>7}")
    for name, run in runs.items():
        lines.append(
            f"{name:12}{num_pages / run.cpu_seconds:14.1f}{run.cpu_seconds:9.2f}"
            f"{run.peak_bytes / 1e6:9.0f}{run.documents:7}"
        )
    if "datatrove" in runs:
        ratio = runs["datatrove"].cpu_seconds / runs["ours"].cpu_seconds
        lines += ["", f"ours / datatrove: {ratio:.1f} x pages/s/core"]
    for name, run in runs.items():
        lines += ["", f"{name}, by step ({SECONDS_OF[name]}; documents after it):"]
        lines += [_step_line(step) for step in run.steps]
    rest = runs["ours"].cpu_seconds - sum(step["seconds"] for step in runs["ours"].steps)
    lines += ["", f"ours, start-up and the rest: {rest:.2f} CPU seconds"]
    return "\n".join([*lines, ""])


def _step_line(step: dict[str, Any]) -> str:
    documents = "" if step["documents"] is None else step["documents"]
    return f"  {step['step']:40}{step['seconds']:8.2f}{documents:>8}"


def _cost(run: Run) -> float:
    return run.cpu_seconds


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.benchmarks.pipeline",
        description="Pages a second a core, ours against datatrove's.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with pages/*.warc.gz")
    parser.add_argument(
        "--pages",
        nargs="+",
        default=["*.warc.gz"],
        help="archives to take from there; patterns will do",
    )
    parser.add_argument(
        "--datatrove-python", type=Path, help="the Python of an environment with datatrove"
    )
    parser.add_argument("--rounds", type=int, default=2, help="how often each is run")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""The whole data path: time by stage, memory, and whether twice the input takes twice the time.

    python -m tests.benchmarks.data_path --data PATH [--scale 1 2 4] [--profile]

``--data`` is a folder with ``web/pages/*.warc.gz``, ``web/real-warc/*`` and ``text/*/*``. Scale 4
is all of it, 2 every second document and 1 every fourth, so that a larger input has other documents
and not copies. Files are brought in, extracted, filtered, deduplicated, classified, mixed and made
into tokens by the lines of ``flows.road``, without an orchestrator, in a process of its own each.
Memory is what the kernel says every 0.2 s of that process and all that it started.
"""

import argparse
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import zstandard
from warcio.archiveiterator import ArchiveIterator
from warcio.warcwriter import WARCWriter

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PARTS = 4
SECONDS_BETWEEN_SAMPLES = 0.2
TOKENIZER_BYTES = 12_500_000  # a scale: what is learned from grows with the rest
MAX_MEMORY_BYTES = 4_000_000_000
NUM_TOP = 8


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one scale cost."""

    scale: int
    raw_bytes: int  # of the input, unpacked
    wall_seconds: float
    cpu_seconds: float
    largest_bytes: int  # resident, of the largest process
    together_bytes: int  # resident, of all at one time; what they share counts in each
    steps: list[dict[str, Any]]
    samples: Counter[tuple[str, str, str]]

    @property
    def num_documents(self) -> int:
        """Documents that were read, whatever became of them."""
        return sum(s["num_in"] for s in self.steps if s["stage"] == "extract")


def main() -> None:
    """Run the scales in turn and print what they cost."""
    options = _options()
    runs = []
    for scale in options.scale:
        with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
            raw_bytes = prepare(options.data, Path(folder, "data"), scale)
            runs.append(measure(Path(folder), scale, raw_bytes, options))
        print(report(runs[-1]), flush=True)
    if len(runs) > 1:
        print(growth(runs))


def prepare(data: Path, folder: Path, scale: int) -> int:
    """Write the part of the data that a scale takes; returns its size unpacked, in bytes."""
    (folder / "warc").mkdir(parents=True)
    (folder / "text").mkdir()
    num_bytes = 0
    for path in sorted(data.glob("web/pages/*.warc.gz")):
        num_bytes += _part_of_archive(path, folder / "warc" / path.name, scale)
    for number, path in enumerate(sorted(data.glob("web/real-warc/*"))):
        if number % PARTS < scale:  # of several formats, and small: whole or not at all
            (folder / "warc" / path.name).symlink_to(path.resolve())
            num_bytes += _unpacked_bytes(path)
    for path in sorted(data.glob("text/*/*")):
        num_bytes += _part_of_text(path, folder / "text" / path.name, scale)
    if not num_bytes:
        raise SystemExit(f"no web/pages, web/real-warc or text in {data}; look at --data")
    return num_bytes


def _part_of_archive(path: Path, target: Path, scale: int) -> int:
    num_bytes = number = 0
    with path.open("rb") as source, target.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for record in ArchiveIterator(source, no_record_parse=True):
            if record.rec_type == "response":
                number += 1
                if number % PARTS < scale:
                    num_bytes += record.length
                    writer.write_record(record)
    return num_bytes


def _part_of_text(path: Path, target: Path, scale: int) -> int:
    """Lines of a table; of a plain text, which is one document, its beginning."""
    if path.suffix != ".zst":
        text = path.read_bytes()
        part = text[: len(text) * scale // PARTS]
        target.write_bytes(part)
        return len(part)
    num_bytes = 0
    with zstandard.open(path, "rb") as source, zstandard.open(target, "wb") as file:
        for number, line in enumerate(io.BufferedReader(source)):
            if number % PARTS < scale:
                num_bytes += len(line)
                file.write(line)
    return num_bytes


def _unpacked_bytes(path: Path) -> int:
    if path.suffix != ".gz":
        return path.stat().st_size
    with gzip.open(path) as file:
        return sum(len(piece) for piece in iter(lambda: file.read(1 << 20), b""))


def measure(folder: Path, scale: int, raw_bytes: int, options: argparse.Namespace) -> Run:
    """The data path in a process of its own; count what it and its children used."""
    samples_folder = folder / "samples"
    samples_folder.mkdir()
    arguments = [folder / "data", folder / "store", options.workers, TOKENIZER_BYTES * scale]
    command = [sys.executable, "-m", "tests.benchmarks.own_data_path", *map(str, arguments)]
    with (folder / "log").open("w+") as log, (folder / "out").open("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=log,
            env=_environment(samples_folder if options.profile else None, options.workers),
        )
        memory = Memory(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        memory.stop()
        if process.returncode:
            log.seek(0)
            sys.stderr.write(log.read()[-5000:])
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; see above")
        output.seek(0)
        steps = json.loads(output.read().splitlines()[-1])
    return Run(
        scale=scale,
        raw_bytes=raw_bytes,
        wall_seconds=sum(step["wall_seconds"] for step in steps),
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        largest_bytes=memory.largest_bytes,
        together_bytes=memory.together_bytes,
        steps=steps,
        samples=_samples(samples_folder),
    )


def _environment(samples_folder: Path | None, num_workers: int) -> dict[str, str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), str(num_workers))
    environment = {**os.environ, **threads}
    if samples_folder:
        environment["BLOOMERY_SAMPLES"] = str(samples_folder)
        environment["PYTHONPATH"] = str(HERE / "sampler")
    return environment


class Memory:
    """Watches a process and all that it starts until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.largest_bytes = self.together_bytes = 0
        self._process = psutil.Process(pid)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(SECONDS_BETWEEN_SAMPLES):
            sizes = list(self._sizes())
            self.largest_bytes = max(self.largest_bytes, *sizes, 0)
            self.together_bytes = max(self.together_bytes, sum(sizes))

    def _sizes(self) -> Iterator[int]:
        try:
            family = [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return
        for process in family:
            try:
                yield process.memory_info().rss
            except psutil.Error:  # gone since
                continue


def _samples(folder: Path) -> Counter[tuple[str, str, str]]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for path in folder.glob("*.json"):
        for stage, ours, leaf, count in json.loads(path.read_text()):
            counts[stage, ours, leaf] += count
    return counts


def report(run: Run) -> str:
    """One scale as text."""
    num_mb, kept = run.raw_bytes / 1e6, run.steps[-3]["num_kept"]
    lines = [
        f"scale {run.scale}: {num_mb:.0f} MB raw, {run.num_documents:,} documents, {kept:,} kept",
        f"  {run.wall_seconds:.1f} s, {run.cpu_seconds:.1f} s of CPU: "
        f"{num_mb / run.wall_seconds:.2f} MB/s, {num_mb / run.cpu_seconds:.2f} MB/s/core, "
        f"{run.num_documents / run.wall_seconds:.0f} documents/s, "
        f"{run.num_documents / run.cpu_seconds:.0f} documents/s/core",
        f"  peak memory: largest process {run.largest_bytes / 1e6:.0f} MB, all together "
        f"{run.together_bytes / 1e6:.0f} MB "
        f"({'under' if run.together_bytes < MAX_MEMORY_BYTES else 'OVER'} 4 GB)",
        "",
        f"  {'stage':14}{'wall s':>9}{'CPU s':>9}{'share':>7}{'in':>9}{'kept':>9}",
    ]
    totals = by_stage(run)
    for stage, total in totals.items():
        share = total["cpu_seconds"] / sum(each["cpu_seconds"] for each in totals.values())
        counts = "".join(f"{total[name] or '':>9}" for name in ("num_in", "num_kept"))
        lines.append(
            f"  {stage:14}{total['wall_seconds']:9.1f}{total['cpu_seconds']:9.1f}"
            f"{share:7.0%}{counts}"
        )
    return "\n".join([*lines, "", *_profile(run.samples)])


def by_stage(run: Run) -> dict[str, Counter[str]]:
    """What each stage cost, all its sources together."""
    totals: dict[str, Counter[str]] = {}
    for step in run.steps:
        total = totals.setdefault(step["stage"], Counter())
        total.update({k: step[k] for k in step if k not in ("stage", "label") and step[k]})
    return totals


def _profile(samples: Counter[tuple[str, str, str]]) -> Iterator[str]:
    stages: dict[str, Counter[str]] = {}
    for (stage, ours, leaf), count in samples.items():
        # what is called from one of our functions counts to it, and is named if it is not ours
        own = ours.rpartition("/")[2] == leaf
        stages.setdefault(stage, Counter())[ours if own else f"{ours} → {leaf}"] += count
    everything = samples.total()
    for stage, counts in sorted(stages.items(), key=lambda item: -item[1].total()):
        yield f"  {stage}: {counts.total() / everything:.0%} of what was sampled"
        for name, count in counts.most_common(NUM_TOP):
            yield f"    {count / counts.total():6.1%}  {name}"
        yield ""


def growth(runs: Sequence[Run]) -> str:
    """How time grows with the input, in all and by stage: 1 is in proportion."""
    sizes = [run.raw_bytes for run in runs]
    header = "".join(f"{run.scale:>9}x" for run in runs)
    lines = [f"CPU seconds     {header}{'last/first':>12}{'exponent':>10}"]
    lines.append(_growth_line("input, MB", sizes, [size / 1e6 for size in sizes]))
    lines.append(_growth_line("all", sizes, [run.cpu_seconds for run in runs]))
    lines.append(_growth_line("all, on the clock", sizes, [run.wall_seconds for run in runs]))
    for stage in by_stage(runs[0]):
        seconds = [by_stage(run)[stage]["cpu_seconds"] for run in runs]
        lines.append(_growth_line(stage, sizes, seconds))
    return "\n".join(lines)


def _growth_line(name: str, sizes: Sequence[float], values: Sequence[float]) -> str:
    slope = np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-3)), 1)[0]
    numbers = "".join(f"{value:10.1f}" for value in values)
    return f"{name:16}{numbers}{values[-1] / max(values[0], 1e-3):12.2f}{slope:10.2f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.benchmarks.data_path",
        description="From files to tokens: time by stage, memory, growth.",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with web/ and text/")
    parser.add_argument(
        "--scale", type=int, nargs="+", choices=(1, 2, 4), default=[1, 2, 4], help="quarters of it"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes on shards")
    parser.add_argument("--profile", action="store_true", help="sample where the time goes")
    parser.add_argument("--scratch", type=Path, help="where to put data and store meanwhile")
    return parser.parse_args()


if __name__ == "__main__":
    main()

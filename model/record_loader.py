"""Whole sequences from JSONL records, a record a line.

In: records that an objective has made rows of. Out: ``TokenBatch``es, padded on the right.
"""

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from model.batches import Row, TokenBatch, batch_starts, order_key, pad_rows, shuffled
from model.job import RecordData, TrainJob

log = logging.getLogger(__name__)


class RecordLoader:
    """Whole sequences from records, one row a conversation, two rows a preference pair.

    Records longer than ``seq_len`` are left out and counted in ``num_too_long``; cutting them would
    teach endings that are none.
    """

    def __init__(
        self,
        samples: Sequence[tuple[Row, ...]],
        seq_len: int,
        batch_size: int,
        seed: int,
        pad_id: int,
        what: str,
    ) -> None:
        """``what``: the file that they were read from, all its records in order."""
        fit = [i for i, s in enumerate(samples) if max(len(ids) for ids, _ in s) <= seq_len]
        fits = [samples[i] for i in fit]
        self.num_too_long = len(samples) - len(fits)
        if not fits:
            raise ValueError(
                f"{what}: none of {len(samples)} records fits seq_len = {seq_len}: raise seq_len"
            )
        self.samples, self.batch_size, self.seed = fits, batch_size, seed
        self.rows_per_sample = len(fits[0])
        self._pad_id, self._seq_len = pad_id, seq_len
        self._path, self._places = what, fit
        self._num_seen = 0
        self._num_tokens = 0

    def next_batch(self) -> TokenBatch:
        """``batch_size`` samples of the seeded order, longest first: micro-batches waste less."""
        chosen = [self._index(self._num_seen + i) for i in range(self.batch_size)]
        self._num_seen += self.batch_size
        batch = self._batch(chosen)
        self._num_tokens += batch.num_tokens
        return batch

    def sweep(self, max_batches: int | None = None) -> Iterator[TokenBatch]:
        """One fixed pass for evaluation, in file order. Does not move the loader."""
        for start in batch_starts(len(self.samples), self.batch_size, max_batches):
            stop = min(start + self.batch_size, len(self.samples))
            yield self._batch(range(start, stop))

    def documents(self, batch: TokenBatch) -> dict[str, list[str]]:
        """The file → the ids of a batch's records. Reads the file anew: it is asked for seldom."""
        lines = [line for line in read_lines(self._path) if line.strip()]
        found = [json.loads(lines[self._places[i]]) for i in sorted(batch.origins)]
        return {self._path: [str(record.get("id")) for record in found]}

    def epochs(self) -> dict[str, float]:
        """Times the records have been gone through."""
        return {"records": self._num_seen / len(self.samples)}

    def tokens(self) -> dict[str, int]:
        """Tokens read, prompts included, padding not."""
        return {"records": self._num_tokens}

    def state_dict(self) -> dict[str, int]:
        """How far the loader is, and in how many records."""
        return {
            "seen": self._num_seen,
            "tokens": self._num_tokens,
            "records": len(self.samples),
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where ``state`` was taken."""
        if state["records"] != len(self.samples):
            raise ValueError(
                f"the checkpoint was made with {state['records']} records, the data file now has "
                f"{len(self.samples)}: start afresh in another out_dir"
            )
        self._num_seen, self._num_tokens = int(state["seen"]), int(state["tokens"])

    def _index(self, position: int) -> int:
        epoch, index = divmod(position, len(self.samples))
        return shuffled(index, len(self.samples), order_key(self.seed, "records", epoch))

    def _batch(self, indices: Sequence[int]) -> TokenBatch:
        by_length = sorted(indices, key=lambda i: -max(len(ids) for ids, _ in self.samples[i]))
        rows = [row for i in by_length for row in self.samples[i]]
        batch = pad_rows(rows, self._pad_id, self._seq_len)
        return dataclasses.replace(batch, origins=tuple(by_length))


def read_records(
    path: str | Path, to_rows: Callable[[dict], tuple[Row, ...]]
) -> list[tuple[Row, ...]]:
    """The rows of every record of a file; a ValueError names the line that is wrong."""
    samples = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            samples.append(to_rows(json.loads(line)))
        except KeyError as error:
            raise ValueError(f"{path}, line {number}: the record has no {error}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, line {number}: {error!r}") from error
    return samples


def read_lines(path: str | Path) -> list[str]:
    """The lines of a file of records, without line ends."""
    try:
        return Path(path).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ValueError(f"cannot read the records of {path}: {error.strerror}") from error


def make_record_loaders(
    kind: Callable[..., RecordLoader], job: TrainJob, tokenizer: Tokenizer
) -> tuple[RecordLoader, RecordLoader | None]:
    """A job's training records and held-out records."""
    assert isinstance(job.data, RecordData)

    def load(path: str) -> RecordLoader:
        loader = kind(
            path, tokenizer, seq_len=job.seq_len, batch_size=job.batch_size, seed=job.seed
        )
        if loader.num_too_long:
            log.warning("%d records exceed seq_len and are left out", loader.num_too_long)
        return loader

    return load(job.data.train), load(job.data.val) if job.data.val else None

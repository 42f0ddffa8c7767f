"""A job file to begin with: ``python -m model.launch --example OBJECTIVE > job.json``.

In: an objective. Out: a job that is valid once its paths are real; all that it leaves out has a
default, and ``job.py`` says what there is. Standard library only.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

_MODEL = {"preset": "modern-demo", "vocab_size": 8192, "max_seq_len": 512}
_SHARDS = {
    "groups": {"web": ["PATH/TO/web.bin"], "code": ["PATH/TO/code.bin"]},
    "weights": {"web": 0.8, "code": 0.2},
    "val": {"web": ["PATH/TO/held-out.bin"]},
}
_RECORDS = {"train": "PATH/TO/train.jsonl", "val": "PATH/TO/held-out.jsonl"}
_FROM_NOTHING = {"tokenizer": "PATH/TO/tokenizer.json", "data": _SHARDS}
_FROM_A_MODEL = {"init_from": "PATH/TO/an/out_dir/final", "data": _RECORDS}
_GENTLY = {"lr": 2e-5, "warmup_steps": 20, "weight_decay": 0.0}

EXAMPLES: dict[str, dict[str, Any]] = {
    "pretrain": _FROM_NOTHING
    | {"model": _MODEL, "optim": {"preset": "modern-demo", "warmup_steps": 50}},
    "mlm": _FROM_NOTHING | {"model": _MODEL | {"preset": "bert-demo"}, "optim": {"lr": 5e-4}},
    "sft": _FROM_A_MODEL | {"optim": _GENTLY},
    "dpo": _FROM_A_MODEL | {"optim": _GENTLY | {"lr": 1e-6}, "dpo_beta": 0.1},
    "classify": _FROM_A_MODEL | {"optim": _GENTLY},
}
_SIZES = {"steps": 500, "seq_len": 256, "batch_size": 16, "eval_every_steps": 100}


def example_job(objective: str) -> dict[str, Any]:
    """Plain values, to be written as JSON."""
    return {"objective": objective, "out_dir": "PATH/TO/an/empty/folder"} | (
        EXAMPLES[objective] | _SIZES
    )


class PrintExample(argparse.Action):
    """An option that prints one and ends the program, as ``--help`` does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """As argparse calls it."""
        print(json.dumps(example_job(str(values)), indent=1))
        parser.exit()

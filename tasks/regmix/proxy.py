"""One proxy run: a mixture in, the held-out loss of every group out.

Runs the engine in the calling process: a run takes seconds, which a process of its own would double
by importing torch. Leaves nothing behind.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.architectures import model_preset
from model.chat import BOS, load_tokenizer, special_id
from model.job import PretrainData, TrainJob
from model.options import OptimConfig
from model.score import nll_of_tokens
from model.tokens import TokenShard
from model.trainer import Trainer
from tasks.regmix.config import RegmixConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyData:
    """What all runs of a search share: shards by portion, held-out shards by group."""

    tokenizer: str
    train: Mapping[str, list[str]]
    validation: Mapping[str, list[str]]
    vocab_size: int
    device: str


def proxy_run(
    data: ProxyData, weights: Mapping[str, float], config: RegmixConfig, seed: int
) -> dict[str, Any]:
    """Train a proxy on portions by ``weights``; mean loss of each group, nats a token.

    One thread: runs are side by side, and a thread's sums do not depend on the machine.
    """
    num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(_job(data, weights, config, seed, folder))
        try:
            trainer.run(lambda: False)
            trainer.model.eval()
            start_id = special_id(load_tokenizer(data.tokenizer), BOS)
            losses = {
                group: _loss(trainer.model, paths, config, start_id)
                for group, paths in data.validation.items()
            }
        finally:
            trainer.close()
            torch.set_num_threads(num_threads)
    return {"losses": losses, "tokens": trainer.loader.tokens()}


def _job(
    data: ProxyData, weights: Mapping[str, float], config: RegmixConfig, seed: int, folder: str
) -> TrainJob:
    return TrainJob(
        objective="pretrain",
        model=model_preset(config.model, data.vocab_size, config.seq_len),
        tokenizer=data.tokenizer,
        data=PretrainData(groups={n: data.train[n] for n in weights}, weights=dict(weights)),
        out_dir=folder,
        steps=config.steps,
        seq_len=config.seq_len,
        batch_size=config.batch_size,
        optim=OptimConfig(lr=config.lr, warmup_steps=max(1, config.steps // 10)),
        seed=seed,
        eval_every_steps=config.steps,
        checkpoint_every_seconds=None,
        log_every_steps=config.steps,
        device=data.device,
        threads=1,
    )


def _loss(model: Any, paths: list[str], config: RegmixConfig, document_start: int) -> float:
    parts: list[np.ndarray] = []
    left = config.eval_tokens
    for path in paths:
        parts.append(TokenShard(Path(path)).tokens_N[:left].astype(np.int64))
        left -= len(parts[-1])
    nats, count = nll_of_tokens(
        model,
        np.concatenate(parts),
        config.seq_len,
        config.seq_len,
        document_start=document_start,
    )
    return nats / count

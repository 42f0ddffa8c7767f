"""The pretrain stage: token shards in, a checkpoint folder out."""

from collections.abc import Sequence
from typing import Any

from model.config import OptimConfig, PretrainData, TrainJob, model_preset
from model.tokens import TokenShard
from tasks.common.mixture import TRAIN, VALIDATION, read_mixture
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.training import train
from tasks.pretrain.config import PretrainConfig


def run(context: StageContext, config: PretrainConfig) -> Outcome:
    """Pretrain a decoder on the mixture, resuming from the last checkpoint if there is one."""
    tokens = context.input("tokens")
    folder = tokens.folder()
    mixture = read_mixture(tokens)["groups"]
    groups = _trainable(context, mixture, config.seq_len)
    shards = {
        row["group"]: [str(folder / n) for n in tokens.names(".bin", f"{TRAIN}/{row['folder']}")]
        for row in groups
    }
    can_evaluate = sum(row["validation_tokens"] for row in mixture) > config.seq_len
    val = [
        str(folder / name)
        for row in (mixture if can_evaluate else [])
        for name in tokens.names(".bin", f"{VALIDATION}/{row['folder']}")
    ]
    vocab_size = next(TokenShard(paths[0]).vocab_size for paths in shards.values())
    job = TrainJob(
        objective="pretrain",
        model=model_preset(config.model, vocab_size, config.seq_len),
        tokenizer=str(folder / "tokenizer.json"),
        data=PretrainData(
            groups=shards, weights={row["group"]: row["weight"] for row in groups}, val=val
        ),
        out_dir=str(context.path),
        steps=config.steps,
        seq_len=config.seq_len,
        batch_size=config.batch_size,
        micro_batch_size=config.micro_batch_size,
        optim=OptimConfig(
            lr=config.lr,
            min_lr_ratio=config.min_lr_ratio,
            warmup_steps=config.warmup_steps,
            decay=config.decay,
            weight_decay=config.weight_decay,
        ),
        seed=config.seed,
        eval_every_steps=config.eval_every_steps,
        eval_batches=config.eval_batches,
    )
    return train(context, job)


def _trainable(
    context: StageContext, groups: Sequence[dict[str, Any]], seq_len: int
) -> list[dict[str, Any]]:
    """The groups that fill a window of ``seq_len`` inputs and the last one's target."""
    chosen = []
    for row in groups:
        if row["train_tokens"] > seq_len:
            chosen.append(row)
        else:
            context.log.warning(
                "group %r is left out: its %d training tokens fill no window of %d",
                row["group"],
                row["train_tokens"],
                seq_len + 1,
            )
    if not chosen:
        raise ValueError(
            f"no group has the {seq_len + 1} training tokens of one window: lower "
            "pretrain.seq_len or bring more documents"
        )
    return chosen


STAGE = Stage(name="pretrain", version=1, config=PretrainConfig, inputs=("tokens",), run=run)

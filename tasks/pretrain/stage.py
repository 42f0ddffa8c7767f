"""The pretrain stage: token shards in, a checkpoint folder out."""

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
    groups = read_mixture(tokens)["groups"]
    shards = {
        row["group"]: [str(folder / n) for n in tokens.names(".bin", f"{TRAIN}/{row['folder']}")]
        for row in groups
    }
    val = [
        str(folder / name)
        for row in groups
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


STAGE = Stage(name="pretrain", version=1, config=PretrainConfig, inputs=("tokens",), run=run)

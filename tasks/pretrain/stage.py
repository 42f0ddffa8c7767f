"""The pretrain stage: token shards in, a checkpoint folder out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from model.architectures import model_preset
from model.job import MixturePhase, PretrainData, TrainJob, optim_preset
from model.tokens import TokenShard
from tasks.common.mixture import TRAIN, VALIDATION, read_mixture, shard_names
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.training import train
from tasks.pretrain.config import PretrainConfig


def run(context: StageContext, config: PretrainConfig) -> Outcome:
    """Pretrain a model on the mixture, resuming from the last checkpoint if there is one."""
    tokens = context.input("tokens")
    folder = tokens.folder()
    mixture = read_mixture(tokens)
    groups = mixture["groups"]
    portions = _trainable(context, groups, config.seq_len)
    phases = phase_schedule(mixture["phases"], portions, config.steps)
    _warn_of_length(context, mixture["phases"], config.train_tokens)
    shards = {
        name: [str(folder / n) for n in tokens.names(".bin", f"{TRAIN}/{portions[name]}")]
        for name in sorted(set().union(*(weights for _, weights in phases)))
    }
    can_evaluate = sum(row["validation_tokens"] for row in groups) > config.seq_len
    val = [
        str(folder / name)
        for row in (groups if can_evaluate else [])
        for name in shard_names(tokens, VALIDATION, row, ".bin")
    ]
    vocab_size = next(TokenShard(paths[0]).vocab_size for paths in shards.values())
    job = TrainJob(
        objective="pretrain",
        model=model_preset(config.model, vocab_size, config.seq_len),
        tokenizer=str(folder / "tokenizer.json"),
        data=PretrainData(
            groups=shards,
            weights=phases[0][1],
            val=val,
            phases=[MixturePhase(first_step=step, weights=own) for step, own in phases[1:]],
        ),
        out_dir=str(context.path),
        steps=config.steps,
        seq_len=config.seq_len,
        batch_size=config.batch_size,
        micro_batch_size=config.micro_batch_size,
        optim=replace(
            optim_preset(config.model),
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


def phase_schedule(
    phases: Sequence[Mapping[str, Any]], trainable: Collection[str], num_steps: int
) -> list[tuple[int, dict[str, float]]]:
    """(first step, weights of portions) of each phase that gets a step of the run.

    A phase's part of the steps is its part of the target tokens: less than its nominal share where
    its documents are at their epoch limits.
    """
    found: list[tuple[int, dict[str, float]]] = []
    total, past = sum(phase["target_tokens"] for phase in phases), 0
    for phase in phases:
        weights = {n: weight for n, weight in phase["weights"].items() if n in trainable and weight}
        if not weights:
            raise ValueError(
                f"phase {phase['name']}: none of its portions has the tokens of one window: lower "
                "pretrain.seq_len, bring more documents or choose less narrowly"
            )
        first_step = round(past / total * num_steps)
        if found and found[-1][0] == first_step:
            found.pop()  # the phase before is shorter than half a step
        if first_step < num_steps:
            found.append((first_step, weights))
        past += phase["target_tokens"]
    return found


def _warn_of_length(
    context: StageContext, phases: Sequence[Mapping[str, Any]], train_tokens: int
) -> None:
    planned = sum(phase["target_tokens"] for phase in phases)
    if train_tokens > 1.01 * planned:  # steps are whole, so a run may be a little over
        context.log.warning(
            "the run trains on %d tokens, the mixture is for %d: documents may be seen more often "
            "than mix.max_epochs; take fewer pretrain.steps, or raise mix.token_budget and bring "
            "more data",
            train_tokens,
            planned,
        )


def _trainable(
    context: StageContext, groups: Sequence[dict[str, Any]], seq_len: int
) -> dict[str, str]:
    """Name → folder of the portions that fill a window of ``seq_len`` + 1 tokens."""
    chosen = {}
    for row in (portion for group in groups for portion in group["portions"]):
        if row["tokens"] > seq_len:
            chosen[row["name"]] = row["folder"]
        else:
            context.log.warning(
                "%r is left out: its %d training tokens fill no window of %d",
                row["name"],
                row["tokens"],
                seq_len + 1,
            )
    if not chosen:
        raise ValueError(
            f"no group has the {seq_len + 1} training tokens of one window: lower "
            "pretrain.seq_len or bring more documents"
        )
    return chosen


STAGE = Stage(name="pretrain", version=4, config=PretrainConfig, inputs=("tokens",), run=run)

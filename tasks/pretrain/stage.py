"""The pretrain stage: token shards, and perhaps a model to train on from, in; a checkpoint out."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from model.job import MixturePhase, PretrainData, TrainJob
from model.options import OptimConfig, optim_preset
from model.tokens import TokenShard
from tasks.common.mixture import TRAIN, VALIDATION, read_mixture, shard_names
from tasks.common.stage import SUMMARY_NAME, Outcome, Stage, StageContext
from tasks.common.training import train
from tasks.common.watching import FROM_NOTHING, watch_settings
from tasks.pretrain.config import PretrainConfig
from tasks.pretrain.schedule import Phase, first_decay_step, schedule_markdown
from tasks.pretrain.start import base_folder, identity, where_to_begin


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
        for name in sorted(set().union(*(phase.weights for phase in phases)))
    }
    can_evaluate = sum(row["validation_tokens"] for row in groups) > config.seq_len
    val = {
        row["group"]: [str(folder / n) for n in shard_names(tokens, VALIDATION, row, ".bin")]
        for row in (groups if can_evaluate else [])
    }
    vocab_size = next(TokenShard(paths[0]).vocab_size for paths in shards.values())
    optim = make_optim(config, first_decay_step(config, phases, context.log))
    job = TrainJob(
        objective="pretrain",
        **where_to_begin(config, base_folder(context, config), folder, vocab_size),
        tokenizer=str(folder / "tokenizer.json"),
        data=PretrainData(
            groups=shards,
            weights=phases[0].weights,
            val=val,
            phases=[MixturePhase(first_step=p.first_step, weights=p.weights) for p in phases[1:]],
        ),
        out_dir=str(context.path),
        steps=config.steps,
        seq_len=config.seq_len,
        batch_size=config.batch_size,
        micro_batch_size=config.micro_batch_size,
        document_mask=config.loss.document_mask,
        z_loss=config.loss.z_loss,
        optim=optim,
        seed=config.seed,
        precision=config.precision,
        eval_every_steps=config.eval_every_steps,
        eval_batches=config.eval_batches,
        **config.robustness.job_fields(),
        **watch_settings(config.watch, FROM_NOTHING),
    )
    plan = schedule_markdown(job.steps, config.batch_size * config.seq_len, phases, optim)
    context.log.info("the plan of the run:\n%s", plan)
    outcome = train(context, job)
    summary = context.path / SUMMARY_NAME  # training says there how the run went
    how_it_went = summary.read_text(encoding="utf-8") if summary.exists() else ""
    summary.write_text(f"{plan}\n\n{how_it_went}", encoding="utf-8")
    return outcome


def make_optim(config: PretrainConfig, decay_from: int | None) -> OptimConfig:
    """The engine's optimizer settings; ``decay_from`` is the first step of a falling rate."""
    own, start = config.optimizer, config.start
    warmup_from = 0.0
    if start.is_given:
        warmup_from = config.min_lr_ratio if start.warmup_from is None else start.warmup_from
    if own.kind == "as-tuned":
        return dataclasses.replace(
            optim_preset(config.model), warmup_steps=config.warmup_steps, clip_norm=own.clip_norm
        )
    return OptimConfig(
        kind=own.kind,
        lr=config.lr,
        adamw_lr_ratio=own.adamw_lr_ratio,
        muon_momentum=own.muon_momentum,
        min_lr_ratio=config.min_lr_ratio,
        warmup_steps=config.warmup_steps,
        warmup_from_ratio=warmup_from,
        decay=config.decay,
        wsd_first_decay_step=decay_from,
        weight_decay=config.weight_decay,
        betas=(own.beta1, own.beta2),
        eps=own.eps,
        clip_norm=own.clip_norm,
    )


def phase_schedule(
    phases: Sequence[Mapping[str, Any]], trainable: Collection[str], num_steps: int
) -> list[Phase]:
    """Each phase of the mixture that gets a step of the run.

    A phase's part of the steps is its part of the target tokens: less than its nominal share where
    its documents are at their epoch limits.
    """
    found: list[Phase] = []
    total, past = sum(phase["target_tokens"] for phase in phases), 0
    for phase in phases:
        weights = {n: weight for n, weight in phase["weights"].items() if n in trainable and weight}
        if not weights:
            raise ValueError(
                f"phase {phase['name']}: none of its portions has the tokens of one window: lower "
                "pretrain.seq_len, bring more documents or choose less narrowly"
            )
        first_step = round(past / total * num_steps)
        if found and found[-1].first_step == first_step:
            found.pop()  # the phase before is shorter than half a step
        if first_step < num_steps:
            found.append(Phase(first_step, weights, phase["name"]))
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


STAGE = Stage(
    name="pretrain",
    version=6,
    config=PretrainConfig,
    inputs=("tokens", "checkpoint"),
    run=run,
    identity=identity,
)

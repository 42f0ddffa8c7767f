"""The dpo stage: a checkpoint and preferences in, an aligned checkpoint out."""

from model.job import RecordData, TrainJob
from model.options import OptimConfig
from tasks.common.finetune import identity
from tasks.common.records import read_records
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.training import train
from tasks.common.watching import first_questions, watch_settings
from tasks.dpo.config import DpoConfig


def run(context: StageContext, config: DpoConfig) -> Outcome:
    """Make chosen answers likelier than rejected ones, held to the input model by beta."""
    preferences = context.input("preferences")
    held_out = preferences.fetch("preferences-validation.jsonl")
    questions = first_questions(read_records(held_out), "prompt")
    job = TrainJob(
        objective="dpo",
        init_from=str(context.input("checkpoint").folder()),
        data=RecordData(
            train=str(preferences.fetch("preferences-train.jsonl")),
            val=str(held_out),
        ),
        finetune=config.finetune.as_job(),
        out_dir=str(context.path),
        steps=config.steps,
        seq_len=config.max_tokens,
        batch_size=config.batch_size,
        micro_batch_size=config.micro_batch_size,
        optim=OptimConfig(
            lr=config.lr, warmup_steps=config.warmup_steps, weight_decay=config.weight_decay
        ),
        dpo_beta=config.beta,
        dpo_sft_weight=config.sft_weight,
        seed=config.seed,
        precision=config.precision,
        eval_every_steps=config.eval_every_steps,
        eval_batches=config.eval_batches,
        **config.robustness.job_fields(),
        **watch_settings(config.watch, questions),
    )
    return train(context, job)


STAGE = Stage(
    name="dpo",
    version=3,
    config=DpoConfig,
    inputs=("checkpoint", "preferences"),
    run=run,
    identity=identity,
)

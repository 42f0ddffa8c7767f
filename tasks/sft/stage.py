"""The sft stage: a checkpoint and conversations in, a checkpoint that answers out."""

from model.job import RecordData, TrainJob
from model.options import OptimConfig
from tasks.common.finetune import identity
from tasks.common.records import read_records
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.training import train
from tasks.common.watching import first_questions, watch_settings
from tasks.sft.config import SftConfig


def run(context: StageContext, config: SftConfig) -> Outcome:
    """Fine-tune on instructions; the loss is on the assistant's tokens only."""
    instructions = context.input("instructions")
    held_out = instructions.fetch("sft-validation.jsonl")
    questions = first_questions(read_records(held_out), "messages")
    job = TrainJob(
        objective="sft",
        init_from=str(context.input("checkpoint").folder()),
        data=RecordData(
            train=str(instructions.fetch("sft-train.jsonl")),
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
        seed=config.seed,
        precision=config.precision,
        eval_every_steps=config.eval_every_steps,
        eval_batches=config.eval_batches,
        **config.robustness.job_fields(),
        **watch_settings(config.watch, questions),
    )
    return train(context, job)


STAGE = Stage(
    name="sft",
    version=4,
    config=SftConfig,
    inputs=("checkpoint", "instructions"),
    run=run,
    identity=identity,
)

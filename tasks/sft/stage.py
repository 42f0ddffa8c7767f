"""The sft stage: a checkpoint and conversations in, a checkpoint that answers out."""

from model.job import OptimConfig, RecordData, TrainJob
from tasks.common.finetune import identity
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.training import train
from tasks.sft.config import SftConfig


def run(context: StageContext, config: SftConfig) -> Outcome:
    """Fine-tune on instructions; the loss is on the assistant's tokens only."""
    instructions = context.input("instructions")
    job = TrainJob(
        objective="sft",
        init_from=str(context.input("checkpoint").folder()),
        data=RecordData(
            train=str(instructions.fetch("sft-train.jsonl")),
            val=str(instructions.fetch("sft-validation.jsonl")),
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
        eval_every_steps=config.eval_every_steps,
        eval_batches=config.eval_batches,
        **config.robustness.job_fields(),
    )
    return train(context, job)


STAGE = Stage(
    name="sft",
    version=2,
    config=SftConfig,
    inputs=("checkpoint", "instructions"),
    run=run,
    identity=identity,
)

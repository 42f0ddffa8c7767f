"""The preferences stage: an instructed model and prompts in, preference pairs out.

Out: ``preferences-{train,validation}.jsonl``, as the dpo stage reads them.
"""

import random
from collections.abc import Sequence

from tokenizers import Tokenizer

from model import chat
from model.checkpoint import load_model
from model.devices import pick_device
from model.generate import generate
from model.language_model import LanguageModel
from model.sampling import Sampling
from tasks.common.judge import closeness
from tasks.common.records import Record, read_records, split_validation, write_records
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.preferences.config import PreferencesConfig
from tasks.preferences.pairs import make_pair, use_reference

PROMPTS_PER_BATCH = 16


def run(context: StageContext, config: PreferencesConfig) -> Outcome:
    """Ask the model, judge its answers, and pair the better with the worse."""
    folder = context.input("checkpoint").folder()
    model, tokenizer = load_model(folder, pick_device(context.machine.device))
    given = read_records(context.input("instructions").fetch("prompts.jsonl"))
    given = given[: config.max_prompts]
    asked = [record for record in given if _leaves_room(model, tokenizer, record)]
    pairs: list[Record] = []
    scores: list[float] = []
    for start in range(0, len(asked), PROMPTS_PER_BATCH):
        batch = asked[start : start + PROMPTS_PER_BATCH]
        answers = _answers(model, tokenizer, batch, config, start)
        pairs += _judged(batch, answers, config, scores)
        if start % (20 * PROMPTS_PER_BATCH) == 0:
            context.log.info("%d of %d prompts, %d pairs", start, len(asked), len(pairs))
    pairs = _with_references(pairs, asked, config)
    train, validation = split_validation(pairs)
    write_records(context.path / "preferences-train.jsonl", train)
    write_records(context.path / "preferences-validation.jsonl", validation)
    return Outcome(
        metrics={
            "prompts": len(asked),
            "too_long": len(given) - len(asked),
            "pairs": len(pairs),
            "mean_chrf": sum(scores) / max(1, len(scores)),
        }
    )


def _leaves_room(model: LanguageModel, tokenizer: Tokenizer, record: Record) -> bool:
    return len(chat.encode_prompt(tokenizer, record["prompt"])) < model.config.max_seq_len


def _answers(
    model: LanguageModel,
    tokenizer: Tokenizer,
    batch: Sequence[Record],
    config: PreferencesConfig,
    start: int,
) -> list[list[str]]:
    """``samples_per_prompt`` answers to each prompt of the batch, ``start`` prompts in."""
    prompts = [
        chat.encode_prompt(tokenizer, record["prompt"])
        for record in batch
        for _ in range(config.samples_per_prompt)
    ]
    made = generate(
        model,
        prompts,
        config.max_new_tokens,
        Sampling(temperature=config.temperature, seed=config.seed),
        first_row=start * config.samples_per_prompt,
        stop_ids=[chat.special_id(tokenizer, token) for token in (chat.END, chat.EOS)],
    )
    texts = [chat.decode(tokenizer, ids).strip() for ids in made]
    size = config.samples_per_prompt
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def _judged(
    batch: Sequence[Record],
    answers: Sequence[Sequence[str]],
    config: PreferencesConfig,
    scores: list[float],
) -> list[Record]:
    pairs = []
    for record, own in zip(batch, answers, strict=True):
        judged = closeness(own, [record["reference"]] * len(own))
        scores += judged
        if pair := make_pair(record, own, judged, config.min_margin):
            pairs.append(pair)
    return pairs


def _with_references(
    pairs: Sequence[Record], asked: Sequence[Record], config: PreferencesConfig
) -> list[Record]:
    rng = random.Random(config.seed)
    reference = {record["id"]: record["reference"] for record in asked}
    return [
        use_reference(pair, reference[pair["id"]])
        if rng.random() < config.reference_share
        else pair
        for pair in pairs
    ]


STAGE = Stage(
    name="preferences",
    version=4,
    config=PreferencesConfig,
    inputs=("checkpoint", "instructions"),
    run=run,
)

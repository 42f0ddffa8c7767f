"""The evaluate stage: a checkpoint in, its measurements out.

Out: ``evaluation.json`` (every figure with its 95 % interval where it is a sample),
``choices.jsonl`` (each multiple-choice question), ``answers.jsonl`` (free answers to held-out
questions, for people to read and for ``compare``).
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from model import chat
from model.checkpoint import load_model
from model.devices import pick_device
from model.generate import generate
from model.language_model import LanguageModel
from model.needle import as_plain, find_needles
from model.sampling import Sampling
from model.score import nll_of_tokens
from model.tokens import TokenShard
from tasks.common.mixture import TRAIN, VALIDATION, read_mixture, shard_names
from tasks.common.records import Record, read_records, write_records
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.statistics import unigram_bits, wilson_interval
from tasks.common.store import Artifact
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.multiple_choice import AsContext, answer_questions, fits

ANSWERS_PER_BATCH = 64
TOKENS_PER_SLICE = 10_000_000
TOKENS_OF_HAYSTACK = 100_000


def run(context: StageContext, config: EvaluateConfig) -> Outcome:
    """Measure a model: bits per byte, multiple choice, and free answers to held-out questions."""
    checkpoint, tokens = context.input("checkpoint"), context.input("tokens")
    instructions = context.input("instructions")
    model, tokenizer = load_model(checkpoint.folder(), pick_device(context.machine.device))
    talks = checkpoint.ref.stage != "pretrain"
    as_context = _conversation(tokenizer) if talks else _plain(tokenizer)

    metrics: dict[str, Any] = {"num_parameters": model.num_parameters()}
    metrics |= _perplexity(model, tokenizer, tokens, config)
    context.log.info("bits per byte %.3f", metrics["bits_per_byte"])

    if config.needle.lengths:
        metrics["needle"] = _needles(model, tokenizer, tokens, config)

    given = read_records(instructions.fetch("multiple-choice.jsonl"))[: config.max_questions]
    questions = [question for question in given if fits(model, tokenizer, question)]
    picks = answer_questions(model, tokenizer, questions, as_context, config.normalisation)
    metrics |= _accuracy(questions, picks)
    if questions:
        context.log.info("multiple choice %.3f", metrics["multiple_choice"]["accuracy"])

    asked = read_records(instructions.fetch("questions.jsonl"))[: config.max_answers]
    answers = _answers(model, tokenizer, asked, as_context, config)
    metrics["too_long"] = len(given) - len(questions) + len(asked) - len(answers)
    write_records(context.path / "choices.jsonl", picks)
    write_records(context.path / "answers.jsonl", answers)
    (context.path / "evaluation.json").write_text(json.dumps(metrics, indent=1))
    return Outcome(metrics=metrics)


def _perplexity(
    model: LanguageModel, tokenizer: Tokenizer, tokens: Artifact, config: EvaluateConfig
) -> dict[str, Any]:
    """Bits per byte over all and by group, beside a unigram model of the same training tokens."""
    folder, byte_lengths = tokens.folder(), chat.token_byte_lengths(tokenizer)
    document_start = chat.special_id(tokenizer, chat.BOS)
    groups = read_mixture(tokens)["groups"]
    vocab_size = len(byte_lengths)
    train_counts = np.zeros(vocab_size, dtype=np.int64)
    for row in groups:
        trained = [portion for portion in row["portions"] if portion["target_tokens"]]
        for shard in _shards(folder, tokens, TRAIN, row | {"portions": trained}):
            train_counts += _count_shard(shard, vocab_size)
    validation = {row["group"]: _shards(folder, tokens, VALIDATION, row) for row in groups}
    total = sum(shard.num_tokens for shards in validation.values() for shard in shards)
    share = min(1.0, config.max_validation_tokens / max(1, total))
    sums = np.zeros(4)  # nats, tokens, bytes, unigram bits
    by_group = {}
    for group, shards in validation.items():
        size = sum(shard.num_tokens for shard in shards)
        ids = _first_tokens(shards, math.ceil(size * share))
        if len(ids) < 2:
            continue
        nats, scored = nll_of_tokens(
            model, ids, model.config.max_seq_len, document_start=document_start
        )
        targets = ids[1:][ids[1:] != document_start]
        num_bytes = int(byte_lengths[targets].sum())
        unigram = unigram_bits(train_counts, _counts(targets, vocab_size))
        by_group[group] = nats / math.log(2) / num_bytes
        sums += (nats, scored, num_bytes, unigram)
    all_nats, all_scored, all_bytes, all_unigram = map(float, sums)
    if not all_scored:
        raise ValueError("no validation tokens: raise mix.validation_share")
    return {
        "bits_per_byte": all_nats / math.log(2) / all_bytes,
        "unigram_bits_per_byte": all_unigram / all_bytes,
        "perplexity": math.exp(all_nats / all_scored),
        "validation_tokens": int(all_scored),
        "bits_per_byte_by_group": by_group,
    }


def _needles(
    model: LanguageModel, tokenizer: Tokenizer, tokens: Artifact, config: EvaluateConfig
) -> list[dict[str, float]]:
    """The share of facts found by length and depth, hidden in held-out text."""
    special = [chat.special_id(tokenizer, token) for token in chat.SPECIAL_TOKENS]
    shards = [
        shard
        for row in read_mixture(tokens)["groups"]
        for shard in _shards(tokens.folder(), tokens, VALIDATION, row)
    ]
    ids = _first_tokens(shards, 2 * max(config.needle.lengths) + TOKENS_OF_HAYSTACK)
    haystack = ids[~np.isin(ids, special)].tolist()
    cells = find_needles(
        model,
        tokenizer,
        haystack,
        config.needle.lengths,
        config.needle.depths,
        num_asked=config.needle.questions,
        seed=config.seed,
    )
    return as_plain(cells)


def _accuracy(questions: Sequence[Record], picks: Sequence[Record]) -> dict[str, Any]:
    if not questions:
        return {}
    num_right = sum(pick["right"] for pick in picks)
    low, high = wilson_interval(num_right, len(picks))
    chance = sum(1 / len(question["choices"]) for question in questions) / len(questions)
    return {
        "multiple_choice": {
            "accuracy": num_right / len(picks),
            "low": low,
            "high": high,
            "chance": chance,
            "questions": len(picks),
        }
    }


def _answers(
    model: LanguageModel,
    tokenizer: Tokenizer,
    asked: Sequence[Record],
    as_context: AsContext,
    config: EvaluateConfig,
) -> list[Record]:
    """Free answers to the questions that leave room for one."""
    stops = [chat.special_id(tokenizer, token) for token in (chat.END, chat.EOS)]
    with_ids = [(record, as_context(record["prompt"])) for record in asked]
    with_ids = [(record, ids) for record, ids in with_ids if len(ids) < model.config.max_seq_len]
    prompts = [ids for _, ids in with_ids]
    made: list[list[int]] = []
    for start in range(0, len(prompts), ANSWERS_PER_BATCH):
        made += generate(
            model,
            prompts[start : start + ANSWERS_PER_BATCH],
            config.max_new_tokens,
            Sampling(temperature=config.temperature, seed=config.seed),
            stop_ids=stops,
            first_row=start,
        )
    return [
        {
            "id": record["id"],
            "prompt": record["prompt"],
            "reference": record["reference"],
            "answer": chat.decode(tokenizer, ids).strip(),
        }
        for (record, _), ids in zip(with_ids, made, strict=True)
    ]


def _conversation(tokenizer: Tokenizer) -> AsContext:
    return lambda messages: chat.encode_prompt(tokenizer, messages)


def _plain(tokenizer: Tokenizer) -> AsContext:
    """For a model that has seen documents only: the last question as the beginning of one."""
    bos = chat.special_id(tokenizer, chat.BOS)
    return lambda messages: [bos, *chat.encode_text(tokenizer, f"{_last_question(messages)}\n")]


def _last_question(messages: Sequence[chat.Message]) -> str:
    asked = [message for message in messages if message["role"] == "user"] or messages
    return asked[-1]["content"]


def _shards(folder: Path, tokens: Artifact, split: str, row: Mapping[str, Any]) -> list[TokenShard]:
    return [TokenShard(folder / name) for name in shard_names(tokens, split, row, ".bin")]


def _first_tokens(shards: Sequence[TokenShard], num_tokens: int) -> np.ndarray:
    parts = [np.zeros(0, np.uint16)]
    for shard in shards:
        parts.append(shard.tokens_N[:num_tokens])
        num_tokens -= len(parts[-1])
    return np.concatenate(parts)


def _count_shard(shard: TokenShard, vocab_size: int) -> np.ndarray:
    """Slice by slice: counting makes 64-bit copies, and a training set may not fit in memory."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for start in range(0, shard.num_tokens, TOKENS_PER_SLICE):
        counts += _counts(shard.tokens_N[start : start + TOKENS_PER_SLICE], vocab_size)
    return counts


def _counts(ids: np.ndarray, vocab_size: int) -> np.ndarray:
    return np.bincount(ids, minlength=vocab_size)


STAGE = Stage(
    name="evaluate",
    version=6,
    config=EvaluateConfig,
    inputs=("checkpoint", "tokens", "instructions"),
    run=run,
    identity=EvaluateConfig.effective,
)

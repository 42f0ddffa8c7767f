"""The evaluate stage: a checkpoint in, its measurements out.

Out: ``evaluation.json`` (every figure with its 95 % interval where it is a sample),
``choices.jsonl`` (each multiple-choice question), ``answers.jsonl`` (free answers to held-out
questions, for people to read and for ``compare``).
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from model import chat
from model.checkpoint import load_model
from model.decoder import Decoder
from model.generate import generate
from model.score import nll_of_tokens
from model.tokens import TokenShard
from model.trainer import pick_device
from tasks.common.mixture import TRAIN, VALIDATION, read_mixture
from tasks.common.records import read_records, write_records
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.statistics import unigram_bits, wilson_interval
from tasks.common.store import Artifact
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.multiple_choice import AsContext, answer_questions

ANSWERS_PER_BATCH = 64


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

    questions = read_records(instructions.fetch("multiple-choice.jsonl"))[: config.max_questions]
    picks = answer_questions(model, tokenizer, questions, as_context, config.normalisation)
    metrics |= _accuracy(questions, picks)
    if questions:
        context.log.info("multiple choice %.3f", metrics["multiple_choice"]["accuracy"])

    asked = read_records(instructions.fetch("questions.jsonl"))[: config.max_answers]
    answers = _answers(model, tokenizer, asked, as_context, config)
    write_records(context.path / "choices.jsonl", picks)
    write_records(context.path / "answers.jsonl", answers)
    (context.path / "evaluation.json").write_text(json.dumps(metrics, indent=1))
    return Outcome(metrics=metrics)


def _perplexity(
    model: Decoder, tokenizer: Tokenizer, tokens: Artifact, config: EvaluateConfig
) -> dict[str, Any]:
    """Bits per byte over all and by group, beside a unigram model of the same training tokens."""
    folder, byte_lengths = tokens.folder(), chat.token_byte_lengths(tokenizer)
    groups = {row["group"]: row["folder"] for row in read_mixture(tokens)["groups"]}
    vocab_size = len(byte_lengths)
    train_counts = sum(
        (_counts(_read_tokens(folder, tokens, TRAIN, own), vocab_size) for own in groups.values()),
        start=np.zeros(vocab_size, dtype=np.int64),
    )
    validation = {
        group: _read_tokens(folder, tokens, VALIDATION, own) for group, own in groups.items()
    }
    total = sum(map(len, validation.values()))
    share = min(1.0, config.max_validation_tokens / max(1, total))
    sums = np.zeros(4)  # nats, tokens, bytes, unigram bits
    by_group = {}
    for group, ids in validation.items():
        ids = ids[: math.ceil(len(ids) * share)]
        if len(ids) < 2:
            continue
        nats, scored = nll_of_tokens(model, ids, model.config.max_seq_len)
        num_bytes = int(byte_lengths[ids[1:]].sum())
        unigram = unigram_bits(train_counts, _counts(ids[1:], vocab_size))
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


def _accuracy(
    questions: Sequence[dict[str, Any]], picks: Sequence[dict[str, Any]]
) -> dict[str, Any]:
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
    model: Decoder,
    tokenizer: Tokenizer,
    asked: Sequence[dict[str, Any]],
    as_context: AsContext,
    config: EvaluateConfig,
) -> list[dict[str, Any]]:
    stops = [chat.special_id(tokenizer, token) for token in (chat.END, chat.EOS)]
    prompts = [as_context(record["prompt"][-1]["content"]) for record in asked]
    made: list[list[int]] = []
    for start in range(0, len(prompts), ANSWERS_PER_BATCH):
        made += generate(
            model,
            prompts[start : start + ANSWERS_PER_BATCH],
            config.max_new_tokens,
            temperature=config.temperature,
            seed=config.seed,
            stop_ids=stops,
        )
    return [
        {
            "id": record["id"],
            "prompt": record["prompt"],
            "reference": record["reference"],
            "answer": chat.decode(tokenizer, ids).strip(),
        }
        for record, ids in zip(asked, made, strict=True)
    ]


def _conversation(tokenizer: Tokenizer) -> AsContext:
    return lambda question: chat.encode_prompt(tokenizer, [{"role": "user", "content": question}])


def _plain(tokenizer: Tokenizer) -> AsContext:
    """For a model that has seen documents only: the question as the beginning of one."""
    bos = chat.special_id(tokenizer, chat.BOS)
    return lambda question: [bos, *chat.encode_text(tokenizer, f"{question}\n")]


def _read_tokens(folder: Path, tokens: Artifact, split: str, group_folder: str) -> np.ndarray:
    names = tokens.names(".bin", f"{split}/{group_folder}")
    shards = [TokenShard(folder / name) for name in names]
    return np.concatenate([shard.tokens_N for shard in shards] or [np.zeros(0, np.uint16)])


def _counts(ids: np.ndarray, vocab_size: int) -> np.ndarray:
    return np.bincount(ids, minlength=vocab_size)


STAGE = Stage(
    name="evaluate",
    version=1,
    config=EvaluateConfig,
    inputs=("checkpoint", "tokens", "instructions"),
    run=run,
)

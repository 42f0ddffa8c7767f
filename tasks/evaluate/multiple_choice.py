"""Multiple choice by likelihood: which of the given answers does the model find likeliest?

Pure but for the model. PMI scoring is Brown et al. 2020 (arXiv:2005.14165), section 2.4:
p(answer | question) / p(answer | a question about nothing), so that an answer does not win for
being common.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from tokenizers import Tokenizer

from model import chat
from model.language_model import LanguageModel
from model.score import loglikelihoods
from tasks.common.records import Record

NEUTRAL_QUESTION = "What does it do?"
Normalisation = Literal["sum", "bytes", "pmi"]
AsContext = Callable[[Sequence[chat.Message]], list[int]]


def answer_questions(
    model: LanguageModel,
    tokenizer: Tokenizer,
    questions: Sequence[Record],
    as_context: AsContext,
    normalisation: Normalisation,
) -> list[Record]:
    """For each question its id, the score of every choice, the pick, and whether it is right.

    Args:
        as_context: turns messages into the token ids that come before the answer.
    """
    asked = [
        (as_context([_user(q["question"])]), choice) for q in questions for choice in q["choices"]
    ]
    scores = _loglikelihoods(model, tokenizer, asked)
    if normalisation == "pmi":
        neutral = as_context([_user(NEUTRAL_QUESTION)])
        unasked = _loglikelihoods(model, tokenizer, [(neutral, choice) for _, choice in asked])
        scores = [s - u for s, u in zip(scores, unasked, strict=True)]
    elif normalisation == "bytes":
        lengths = [len(choice.encode()) for _, choice in asked]
        scores = [s / max(1, n) for s, n in zip(scores, lengths, strict=True)]
    return _picks(questions, scores)


def fits(model: LanguageModel, tokenizer: Tokenizer, question: Record) -> bool:
    """Whether the model can score every choice; of too long a context only the end is read."""
    room = model.config.max_seq_len
    return all(len(chat.encode_text(tokenizer, c)) <= room for c in question["choices"])


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def _picks(questions: Sequence[Record], scores: list[float]) -> list[Record]:
    picks, start = [], 0
    for question in questions:
        own = scores[start : start + len(question["choices"])]
        start += len(own)
        pick = max(range(len(own)), key=own.__getitem__)
        picks.append(
            {
                "id": question["id"],
                "scores": [round(score, 4) for score in own],
                "pick": pick,
                "right": pick == question["answer"],
            }
        )
    return picks


def _loglikelihoods(
    model: LanguageModel, tokenizer: Tokenizer, asked: Sequence[tuple[list[int], str]]
) -> list[float]:
    requests = [(context, chat.encode_text(tokenizer, choice)) for context, choice in asked]
    return [total for total, _, _ in loglikelihoods(model, tokenizer, requests)]

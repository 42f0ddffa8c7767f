"""How likely a model finds given text: what multiple choice, perplexity and bits per byte need.

In: a model and token ids. Out: summed log-probabilities in nats, and how many tokens they cover.
What they say about a suite is the caller's.

Shape suffixes: B rows, T positions, V vocabulary, N scored positions.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from model import chat
from model.batches import Row, TokenBatch, pad_rows
from model.language_model import LanguageModel
from model.losses import token_logprobs
from model.objectives.base import scored_positions

Request = tuple[Sequence[int], Sequence[int]]
"""(context ids, continuation ids)."""


@torch.no_grad()
def loglikelihoods(
    model: LanguageModel,
    tokenizer: Tokenizer,
    requests: Sequence[Request],
    batch_tokens: int = 8192,
) -> list[tuple[float, int, bool]]:
    """For each request, in its order: log p(continuation | context), the continuation's tokens, and
    whether greedy decoding would say it.

    A context without tokens stands for nothing-before: ``<|bos|>``. What does not fit
    ``max_seq_len`` loses the beginning of its context. Batches hold requests of like length and at
    most ``batch_tokens`` tokens, padding included.
    """
    bos = chat.special_id(tokenizer, chat.BOS)
    rows = [_request_row(model, context or [bos], answer) for context, answer in requests]
    results: list[tuple[float, int, bool]] = [(0.0, 0, True)] * len(rows)
    for indices in _length_batches(rows, batch_tokens):
        batch = pad_rows([rows[i] for i in indices], 0, model.config.max_seq_len)
        for index, result in zip(indices, _score(model, batch), strict=True):
            results[index] = result
    return results


@torch.no_grad()
def nll_of_tokens(
    model: LanguageModel,
    tokens: Sequence[int] | np.ndarray,
    seq_len: int,
    stride: int | None = None,
    batch_tokens: int = 8192,
    document_start: int | None = None,
) -> tuple[float, int]:
    """Summed −log p in nats of every token but the first, and how many those are.

    Windows of ``seq_len`` inputs begin every ``stride`` tokens (default: half of ``seq_len``); each
    token is scored once, in the first window that reaches it, so all but those of the first window
    see at least ``seq_len − stride`` tokens before them. ``stride = seq_len`` is the fast, blunt
    version: disjoint windows. A smaller stride costs time and lowers the result a little.

    ``document_start``: the id that every document begins with. No document then sees another, and
    none is asked to foretell that another begins; as in pretraining with a document mask.
    """
    stride = seq_len // 2 if stride is None else stride
    if not 1 <= stride <= seq_len <= model.config.max_seq_len:
        raise ValueError(
            "need 1 <= stride <= seq_len <= max_seq_len; got "
            f"stride={stride}, seq_len={seq_len}, max_seq_len={model.config.max_seq_len}"
        )
    rows = _windows(np.asarray(tokens, dtype=np.int64), seq_len, stride)
    rows = [(ids, is_scored & (ids != document_start)) for ids, is_scored in rows]
    total, count = 0.0, 0
    for indices in _length_batches(rows, batch_tokens):
        batch = pad_rows([rows[i] for i in indices], 0, model.config.max_seq_len)
        for logprob, num_tokens, _ in _score(model, batch, document_start):
            total, count = total - logprob, count + num_tokens
    return total, count


def _score(
    model: LanguageModel, batch: TokenBatch, document_start: int | None = None
) -> list[tuple[float, int, bool]]:
    """For each row: summed log-probability, number of scored tokens, all of them the likeliest."""
    batch = batch.to(model.embed.weight.device)
    assert batch.mask_BT is not None
    documents_BT = None
    if document_start is not None:
        documents_BT = (batch.inputs_BT == document_start).cumsum(dim=1)
    hidden_ND, targets_N = scored_positions(model, batch, documents_BT)
    logits_NV = model.head(hidden_ND)
    row_N = batch.mask_BT.nonzero()[:, 0]
    rows = len(batch.lengths)
    # Sums in float64: a long text's total must not lose its small terms.
    sums_B = _sum_by_row(token_logprobs(logits_NV, targets_N).double(), row_N, rows)
    misses_B = _sum_by_row((logits_NV.argmax(dim=-1) != targets_N).long(), row_N, rows)
    counts_B = batch.mask_BT.sum(dim=1)
    return [
        (logprob, num_tokens, misses == 0)
        for logprob, num_tokens, misses in zip(
            sums_B.tolist(), counts_B.tolist(), misses_B.tolist(), strict=True
        )
    ]


def _sum_by_row(values_N: Tensor, row_N: Tensor, rows: int) -> Tensor:
    return values_N.new_zeros(rows).index_add(0, row_N, values_N)


def _request_row(model: LanguageModel, context: Sequence[int], answer: Sequence[int]) -> Row:
    room = model.config.max_seq_len + 1  # the last token is only a target
    if len(answer) >= room:
        raise ValueError(
            f"a continuation of {len(answer)} tokens leaves no room for context in the model's "
            f"max_seq_len = {model.config.max_seq_len}"
        )
    ids = np.array([*context, *answer], dtype=np.int64)[-room:]
    return ids, np.arange(len(ids)) >= len(ids) - len(answer)


def _windows(tokens_N: np.ndarray, seq_len: int, stride: int) -> list[Row]:
    """Rows that between them score every token but the first exactly once."""
    rows, scored_until = [], 1
    for start in range(0, len(tokens_N), stride):
        ids = tokens_N[start : start + seq_len + 1]
        stop = start + len(ids)
        if stop > scored_until:
            rows.append((ids, np.arange(start, stop) >= scored_until))
            scored_until = stop
    return rows


def _length_batches(rows: Sequence[Row], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of rows, longest first, as many as fit ``batch_tokens``; at least one."""
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i][0]), i))
    while order:
        size = max(1, batch_tokens // len(rows[order[0]][0]))
        yield order[:size]
        order = order[size:]

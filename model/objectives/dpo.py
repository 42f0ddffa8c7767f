"""Direct preference optimization: chosen answers over rejected ones, against a frozen reference.

In: JSONL, ``{"id": …, "prompt": [messages], "chosen": …, "rejected": …}`` a line. Out: batches of
pairs, and the loss of Rafailov et al. 2023 (arXiv:2305.18290).

Shape suffixes: B rows, P pairs (B = 2P), N scored positions, D width.
"""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from model import chat
from model.adapters import quantise
from model.batches import Row, TokenBatch
from model.context import load_to_train
from model.decoder import Decoder
from model.job import TrainJob
from model.language_model import LanguageModel
from model.losses import chosen_nll, dpo_loss, token_logprobs
from model.objectives.base import Objective, scored_positions
from model.record_loader import RecordLoader, make_record_loaders, read_records


class PairLoader(RecordLoader):
    """DPO: ``{"id": …, "prompt": [messages], "chosen": …, "rejected": …}`` a line. Even rows are
    chosen answers, each followed by its rejected one; the loss counts the answers."""

    def __init__(
        self, path: str | Path, tokenizer: Tokenizer, seq_len: int, batch_size: int, seed: int
    ) -> None:
        samples = read_records(path, lambda record: _pair_rows(tokenizer, record))
        pad_id = chat.special_id(tokenizer, chat.PAD)
        super().__init__(samples, seq_len, batch_size, seed, pad_id, str(path))


class Preference:
    """Dpo against a frozen reference, averaged over pairs; rows as ``PairLoader`` lays them.

    The reference is asked anew at every step, a forward pass a batch: remembering its answers
    would make the bits of a run depend on where it was interrupted.
    """

    names = ("loss", "accuracy", "margin")

    def __init__(self, reference: LanguageModel, beta: float, sft_weight: float) -> None:
        self.reference = reference.eval().requires_grad_(False)
        self.beta, self.sft_weight = beta, sft_weight

    def count(self, batch: TokenBatch) -> int:
        """Pairs."""
        return len(batch.lengths) // 2

    def sums(self, model: LanguageModel, batch: TokenBatch) -> dict[str, Tensor]:
        """Loss, pairs ranked as people did (accuracy), and reward margins."""
        assert batch.mask_BT is not None
        chosen_P, rejected_P = sequence_logprobs(model, batch).view(-1, 2).unbind(1)
        with torch.no_grad():
            ref_chosen_P, ref_rejected_P = (
                sequence_logprobs(self.reference, batch).view(-1, 2).unbind(1)
            )
        losses_P, margins_P = dpo_loss(
            chosen_P, rejected_P, ref_chosen_P, ref_rejected_P, self.beta
        )
        if self.sft_weight:
            num_tokens_P = batch.mask_BT[::2].sum(dim=1)
            losses_P = losses_P + self.sft_weight * chosen_nll(chosen_P, num_tokens_P)
        margins_P = margins_P.detach()
        return {
            "loss": losses_P.sum(),
            "accuracy": (margins_P > 0).float().sum(),
            "margin": margins_P.sum(),
        }


def sequence_logprobs(model: LanguageModel, batch: TokenBatch) -> Tensor:
    """(B,) log-probability of each row's masked tokens, all together."""
    assert batch.mask_BT is not None
    hidden_ND, targets_N = scored_positions(model, batch)
    logprobs_N = token_logprobs(model.head(hidden_ND), targets_N)
    row_N = batch.mask_BT.nonzero()[:, 0]
    return logprobs_N.new_zeros(len(batch.lengths)).index_add(0, row_N, logprobs_N)


def _pair_rows(tokenizer: Tokenizer, record: dict) -> tuple[Row, Row]:
    prompt = chat.encode_prompt(tokenizer, record["prompt"])

    def row(answer: str) -> Row:
        ids = chat.encode_answer(tokenizer, answer)
        mask = [False] * len(prompt) + [True] * len(ids)
        return np.array(prompt + ids), np.array(mask)

    return row(record["chosen"]), row(record["rejected"])


def _criterion(job: TrainJob, tokenizer: Tokenizer, device: torch.device) -> Preference:
    assert job.init_from is not None  # TrainJob sees to it
    reference = load_to_train(job.init_from, job.context).to(device)
    if job.finetune and job.finetune.base == "nf4":
        assert isinstance(reference, Decoder)
        quantise(reference)  # what the policy begins as
    return Preference(reference, job.dpo_beta, job.dpo_sft_weight)


OBJECTIVE = Objective(
    make_loaders=lambda job, tokenizer: make_record_loaders(PairLoader, job, tokenizer),
    make_criterion=_criterion,
)

"""Scores against the plain product of probabilities, one request at a time."""

import pytest
import torch

from model import chat
from model.decoder import Decoder
from model.generate import generate
from model.score import loglikelihoods, nll_of_tokens


@pytest.fixture
def model(tiny):
    torch.manual_seed(3)
    model = Decoder(tiny).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3 if parameter.ndim > 1 else 1)
    return model


@torch.no_grad()
def logprob(model, context, answer):
    if not answer:
        return 0.0
    ids = [*context, *answer]
    logs = model(torch.tensor([ids[:-1]]))[0].double().log_softmax(dim=-1)
    return sum(float(logs[len(context) + i - 1, t]) for i, t in enumerate(answer))


@pytest.mark.parametrize("batch_tokens", [1, 40, 8192])
def test_batched_scores_are_the_single_ones(model, tokenizer, batch_tokens):
    requests = [([7, 8, 9], [10, 11]), ([5], [6, 7, 8, 9]), ([1] * 30, [4]), ([9, 9], [])]
    results = loglikelihoods(model, tokenizer, requests, batch_tokens)
    for (context, answer), (total, count, _) in zip(requests, results, strict=True):
        assert total == pytest.approx(logprob(model, context, answer), abs=1e-4)
        assert count == len(answer)


def test_greedy_is_what_generation_says(model, tokenizer):
    (said,) = generate(model, [[7, 8, 9]], 6)
    other = [*said[:-1], (said[-1] + 1) % 320]
    results = loglikelihoods(model, tokenizer, [([7, 8, 9], said), ([7, 8, 9], other)])
    assert [greedy for _, _, greedy in results] == [True, False]


def test_no_context_means_the_beginning_of_a_document(model, tokenizer):
    bos = chat.special_id(tokenizer, chat.BOS)
    ((total, _, _),) = loglikelihoods(model, tokenizer, [([], [20, 21])])
    assert total == pytest.approx(logprob(model, [bos], [20, 21]), abs=1e-4)


def test_a_long_context_loses_its_beginning(model, tokenizer):
    context = [i % 300 for i in range(200)]
    ((total, _, _),) = loglikelihoods(model, tokenizer, [(context, [20, 21])])
    # The model reads 64 tokens: all of the answer but its last, and 63 of the context.
    assert total == pytest.approx(logprob(model, context[-63:], [20, 21]), abs=1e-4)
    with pytest.raises(ValueError, match="no room for context"):
        loglikelihoods(model, tokenizer, [([1], [2] * 65)])


@pytest.mark.parametrize("num_tokens", [0, 1, 2, 17, 33, 60])
@pytest.mark.parametrize("stride", [1, 5, 8, 16])
def test_every_token_but_the_first_is_scored_once(model, num_tokens, stride):
    tokens = torch.randint(320, (num_tokens,), generator=torch.Generator().manual_seed(0))
    total, count = nll_of_tokens(model, tokens.numpy(), seq_len=16, stride=stride)
    assert count == max(0, num_tokens - 1)
    expected = 0.0
    for target in range(1, num_tokens):
        # The first window to reach the target sets what it sees.
        start = max(0, -(-(target - 16) // stride) * stride)
        expected -= logprob(model, tokens[start:target].tolist(), [int(tokens[target])])
    assert total == pytest.approx(expected, rel=1e-4)


def test_documents_are_scored_as_if_each_stood_alone(model):
    start_id = 0
    documents = [[start_id, 5, 6, 7, 8], [start_id, 9, 10], [start_id, 11, 12, 13]]
    joined = [token for document in documents for token in document]
    total, count = nll_of_tokens(model, joined, seq_len=16, document_start=start_id)
    alone = [nll_of_tokens(model, document, seq_len=16) for document in documents]
    assert count == sum(size for _, size in alone) == 9
    assert total == pytest.approx(sum(nats for nats, _ in alone), rel=1e-5)


def test_windows_that_skip_tokens_are_refused(model):
    with pytest.raises(ValueError, match="stride=17"):
        nll_of_tokens(model, [1, 2, 3], seq_len=16, stride=17)

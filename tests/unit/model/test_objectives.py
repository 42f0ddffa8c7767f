"""Losses against independent derivations, in float64 and by hand."""

import math

import pytest
import torch

from model.losses import chosen_nll, dpo_loss, next_token_loss, token_logprobs


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_next_token_loss_is_the_sum_of_minus_log_probability():
    logits, targets = numbers(2, 3, 5), torch.tensor([[0, 4, 2], [1, 1, 3]])
    mask = torch.tensor([[True, False, True], [True, True, False]])
    total, count = next_token_loss(logits, targets, mask)
    by_hand = 0.0
    for b, t in mask.nonzero().tolist():
        scores = logits[b, t].double().tolist()
        by_hand += math.log(sum(map(math.exp, scores))) - scores[targets[b, t]]
    assert int(count) == 4
    assert float(total) == pytest.approx(by_hand, rel=1e-6)


def test_a_fully_masked_batch_gives_zero_and_no_gradient():
    logits = numbers(2, 3, 5).requires_grad_()
    mask = torch.zeros(2, 3, dtype=torch.bool)
    total, count = next_token_loss(logits, torch.zeros(2, 3, dtype=torch.long), mask)
    total.backward()
    assert (total.item(), int(count)) == (0.0, 0)
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_token_logprobs_agree_with_the_loss():
    logits, targets = numbers(2, 3, 5), torch.tensor([[0, 4, 2], [1, 1, 3]])
    total, _ = next_token_loss(logits, targets)
    torch.testing.assert_close(-token_logprobs(logits, targets).sum(), total)


@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0])
def test_dpo_is_equation_7(beta):
    logps = [numbers(6, seed=seed).double() * 20 - 40 for seed in range(4)]
    losses, margins = dpo_loss(*logps, beta)
    for i in range(6):
        chosen, rejected, ref_chosen, ref_rejected = (float(x[i]) for x in logps)
        # Eq. 6: the Bradley-Terry probability of the preference, from likelihood ratios.
        odds = (chosen - ref_chosen) - (rejected - ref_rejected)
        probability = 1 / (1 + math.exp(-beta * odds))
        assert float(margins[i]) == pytest.approx(beta * odds)
        assert float(losses[i]) == pytest.approx(-math.log(probability))


def test_dpo_starts_at_log_two_and_pushes_the_answers_apart():
    chosen, rejected = torch.full((3,), -7.0), torch.full((3,), -5.0)
    policy = [chosen.clone().requires_grad_(), rejected.clone().requires_grad_()]
    losses, margins = dpo_loss(*policy, chosen, rejected, beta=0.5)
    losses.sum().backward()
    assert torch.equal(margins, torch.zeros(3))
    torch.testing.assert_close(losses, torch.full((3,), math.log(2)))
    # Section 4: the gradient is −β σ(−margin) (∇ log π(chosen) − ∇ log π(rejected)).
    torch.testing.assert_close(policy[0].grad, torch.full((3,), -0.25))
    torch.testing.assert_close(policy[1].grad, torch.full((3,), 0.25))


def test_dpo_stays_finite_far_out():
    losses, _ = dpo_loss(*(torch.tensor([x]) for x in (-9000.0, 0.0, 0.0, 0.0)), beta=1.0)
    assert float(losses) == 9000.0


def test_chosen_nll_is_a_mean_over_tokens():
    assert chosen_nll(torch.tensor([-6.0]), torch.tensor([3])).tolist() == [2.0]
    assert chosen_nll(torch.tensor([0.0]), torch.tensor([0])).tolist() == [0.0]

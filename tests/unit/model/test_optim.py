"""Schedules at their corners, and what decays."""

import pytest

from model.config import OptimConfig
from model.decoder import Decoder
from model.optim import learning_rate, parameter_groups

STEPS = 100


def config(decay, **changes):
    fields = {"lr": 2.0, "min_lr_ratio": 0.25, "warmup_steps": 10}
    return OptimConfig(decay=decay, **(fields | changes))


@pytest.mark.parametrize("decay", ["cosine", "linear", "wsd", "constant"])
def test_every_schedule_warms_up_and_ends_where_it_says(decay):
    rates = [learning_rate(step, STEPS, config(decay)) for step in range(STEPS)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == 2.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(2.0 if decay == "constant" else 0.5)


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_half_way_the_rate_is_half_way(decay):
    assert learning_rate(54, STEPS, config(decay)) == pytest.approx((2.0 + 0.5) / 2)


def test_wsd_is_stable_and_then_falls():
    stable = config("wsd", wsd_decay_ratio=0.2)
    rates = [learning_rate(step, STEPS, stable) for step in range(STEPS)]
    # 90 steps follow the warm-up; the last fifth of them, 18, fall.
    assert rates[9:82] == pytest.approx([2.0] * 73)
    assert rates[82] < 1.95
    assert rates[90] == pytest.approx((2.0 + 0.5) / 2)


def test_no_warmup_and_a_single_step_are_fine():
    assert learning_rate(0, 1, config("cosine", warmup_steps=0)) == pytest.approx(0.5)
    assert learning_rate(0, 1, config("cosine", warmup_steps=1)) == 2.0
    assert learning_rate(3, 5, config("linear", warmup_steps=10)) == pytest.approx(0.8)


def test_matrices_decay_and_vectors_do_not(tiny, replace):
    model = Decoder(replace(tiny, norm="layernorm", bias=True))
    decayed, kept = parameter_groups(model, weight_decay=0.1)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    assert len(decayed["params"]) + len(kept["params"]) == len(names)
    for parameter in kept["params"]:
        name = names[id(parameter)]
        assert "norm" in name or name.endswith("bias")
    assert not any("norm" in names[id(p)] for p in decayed["params"])

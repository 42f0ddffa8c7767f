"""Schedules at their corners."""

import math

import pytest

from model.options import OptimConfig
from model.schedule import learning_rate

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


def rates_of(steps, optim):
    return [learning_rate(step, steps, optim) for step in range(steps)]


@pytest.mark.parametrize("decay", ["cosine", "linear", "wsd", "constant"])
@pytest.mark.parametrize("start", [0.0, 0.25, 1.0])
def test_rewarming_begins_one_step_above_the_rate_that_training_ended_with(decay, start):
    rates = rates_of(STEPS, config(decay, warmup_from_ratio=start))
    rise = (2.0 - 2.0 * start) / 10
    for step in range(10):
        assert rates[step] == pytest.approx(2.0 * start + (step + 1) * rise)
    assert rates[9] == 2.0
    assert rates[10:] == rates_of(STEPS, config(decay))[10:]


def test_training_on_goes_on_where_the_rate_ended():
    """A run, and a second one re-warmed: no jump between them is larger than a step of warm-up."""
    first = rates_of(STEPS, config("cosine"))
    second = rates_of(STEPS, config("cosine", warmup_from_ratio=0.25))
    assert first[-1] == pytest.approx(0.5)
    assert second[0] - first[-1] == pytest.approx((2.0 - 0.5) / 10)
    assert max(second) == 2.0
    assert second[-1] == pytest.approx(0.5)


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("first", [7, 8, 50, 98, 99])
def test_wsd_falls_from_the_step_named_and_from_no_other(first, warmup):
    rates = rates_of(STEPS, config("wsd", warmup_steps=warmup, wsd_first_decay_step=first))
    assert rates[warmup:first] == [2.0] * (first - warmup)
    assert rates[first] < 2.0
    falls = [early - late for early, late in zip(rates[first - 1 : -1], rates[first:], strict=True)]
    if first > warmup or warmup:
        assert falls == pytest.approx([1.5 / (STEPS - first)] * (STEPS - first))
    assert rates[-1] == pytest.approx(0.5)


def test_the_share_and_the_step_of_wsd_say_the_same():
    by_share = rates_of(STEPS, config("wsd", wsd_decay_ratio=0.2))
    by_step = rates_of(STEPS, config("wsd", wsd_first_decay_step=82))
    assert by_share == pytest.approx(by_step)


def test_a_longer_run_keeps_the_stable_rates_of_a_shorter_one():
    """So that several anneals can branch off one stable run."""
    short = rates_of(100, config("wsd", wsd_first_decay_step=80))
    long = rates_of(200, config("wsd", wsd_first_decay_step=160))
    assert short[:80] == long[:80]


def test_a_decay_within_the_warm_up_is_refused():
    with pytest.raises(ValueError, match="before the warm-up's end, 10; got 9"):
        config("wsd", wsd_first_decay_step=9)


@pytest.mark.parametrize("decay", ["cosine", "linear", "wsd", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 3, 11])
@pytest.mark.parametrize("warmup", [0, 1, 2, 11, 20])
def test_every_rate_is_positive_and_at_most_the_peak(decay, steps, warmup):
    for start in (0.0, 0.1, 1.0):
        optim = config(decay, warmup_steps=warmup, warmup_from_ratio=start)
        rates = rates_of(steps, optim)
        assert all(0 < rate <= 2.0 and math.isfinite(rate) for rate in rates)

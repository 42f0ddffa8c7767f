"""Benchmarks of training run to their end, and claim no more than they have found."""

import argparse

import pytest

from tests.benchmarks import training
from tests.benchmarks.time_to_loss import Run, judge, told


def test_ours_and_the_plain_model_have_their_rows(capsys):
    """Measured here, and its peak of memory in a process of its own."""
    options = argparse.Namespace(rounds=1, threads=1, no_memory=False)
    names = ["ours", "plain GPT"]
    training._compare("toy", names, options)
    lines = capsys.readouterr().out.splitlines()
    for name in names:
        (row,) = [line for line in lines if line.startswith(f"{name} ".ljust(24))]
        assert int(row.split()[-1]) > 0


def test_a_peer_that_is_not_there_is_left_out_and_named(monkeypatch, capsys):
    monkeypatch.setitem(training.NEEDS, "litgpt", "no_such_package")
    assert not training._is_here("litgpt")
    assert "litgpt is left out" in capsys.readouterr().out


def pair(slow_bits, fast_bits, fast_seconds):
    """A baseline of 8 CPU seconds, and the preset."""
    found = [(slow_bits, 8.0), (fast_bits, fast_seconds)]
    return tuple(
        Run("", 0, 1, 1, cpu_seconds=seconds, curve=[{"bits_per_byte": bits}])
        for bits, seconds in found
    )


def test_a_ratio_of_times_is_told_of_those_that_reached_the_target():
    nobody = judge([pair(2.0, 2.1, 1.0)])
    assert nobody["ratio"] is None
    assert "not reached" in told(nobody)
    one = judge([pair(2.0, 1.9, 2.0), pair(2.0, 2.1, 1.0)])
    assert (one["num_reached"], one["ratio"]) == (1, pytest.approx(0.25))
    assert "%" not in told(one)
    two = judge([pair(2.0, 1.9, 2.0), pair(2.0, 1.8, 4.0)])
    assert two["ratio"] == pytest.approx(0.125**0.5)
    assert two["ratio_interval"][0] < two["ratio"] < two["ratio_interval"][1]
    assert "95 %" in told(two)

"""From documents to batches: the exact table, and what the loader draws by it."""

import json

import pytest
from click.testing import CliRunner

from flows.cli import main
from model.packed_loader import PackedLoader
from tasks.common.mix_table import MixRules, MixWeight, Phase, Portion, mixture_table
from tasks.common.mixture import shard_names
from tasks.common.stage import Machine, materialise
from tasks.common.store import Artifact, Store
from tasks.mix.config import MixConfig
from tasks.mix.stage import STAGE as MIX
from tasks.pretrain.stage import phase_schedule
from tasks.tokenizer.config import TokenizerConfig
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.tokens.config import TokensConfig
from tasks.tokens.stage import STAGE as TOKENS
from tests.stages import given

SEQ_LEN, BATCH_SIZE, STEPS = 16, 8, 60
BUDGET = SEQ_LEN * BATCH_SIZE * STEPS


@pytest.fixture
def tokens(machine: Machine, store: Store) -> Artifact:
    """Groups whose texts cost unlike numbers of tokens a byte: estimates must be off."""
    rows = [
        {"id": f"{group}{n}", "text": text * (2 + n % 7), "source": group, "quality_score": n / 90}
        for group, text in (("prose", "the cat sat on the mat "), ("digits", "9 81 726 5354 "))
        for n in range(90)
    ]
    config = MixConfig(
        token_budget=BUDGET,
        weights=[MixWeight(group="prose", weight=0.3), MixWeight(group="digits", weight=0.7)],
        phases=[Phase(name="anneal", share=0.25, keep_share=0.5, multiply={"prose": 3})],
        max_epochs=2.0,
    )
    mixed, _ = materialise(MIX, config, {"documents": [given(machine, [rows])]}, machine)
    words = TokenizerConfig(vocab_size=400)
    learned, _ = materialise(TOKENIZER, words, {"documents": [mixed.ref]}, machine)
    inputs = {"documents": [mixed.ref], "tokenizer": [learned.ref]}
    made, _ = materialise(TOKENS, TokensConfig(), inputs, machine)
    return store.open(made.ref)


def test_the_table_counts_the_tokens_that_are_there(tokens: Artifact):
    table = json.loads(tokens.fetch("mixture.json").read_text())
    assert table["are_counts_exact"]
    for row in table["groups"]:
        paths = [tokens.fetch(n) for n in shard_names(tokens, "train", row, ".bin")]
        num_tokens = sum(path.stat().st_size // 2 for path in paths)
        assert num_tokens == row["tokens"] > 0
        assert row["epochs"] <= 2.0
        assert row["epochs"] == pytest.approx(row["target_tokens"] / num_tokens, abs=1e-3)
    assert sum(row["weight"] for row in table["groups"]) == pytest.approx(1)
    digits = table["groups"][0]
    assert digits["bytes"] / digits["tokens"] < 3  # MixConfig's estimate says four


def test_a_run_draws_its_targets_to_within_a_batch(tokens: Artifact):
    table = json.loads(tokens.fetch("mixture.json").read_text())
    portions = {p["name"]: p for row in table["groups"] for p in row["portions"]}
    first, *later = phase_schedule(table["phases"], portions, STEPS)
    phases = [(phase.first_step, phase.weights) for phase in later]
    folder = tokens.folder()
    shards = {
        name: [folder / n for n in tokens.names(".bin", f"train/{own['folder']}")]
        for name, own in portions.items()
    }
    loader = PackedLoader(shards, first.weights, SEQ_LEN, BATCH_SIZE, seed=0, phases=phases)
    for _ in range(STEPS):
        loader.next_batch()
    assert sum(row["target_tokens"] for row in table["groups"]) == pytest.approx(BUDGET, abs=3)
    for name, drawn in loader.tokens().items():
        assert abs(drawn - portions[name]["target_tokens"]) <= BATCH_SIZE * SEQ_LEN
    for row in table["groups"]:
        drawn = sum(loader.tokens()[own["name"]] for own in row["portions"])
        assert abs(drawn - row["target_tokens"]) <= BATCH_SIZE * SEQ_LEN


def test_a_scarce_phase_gets_no_more_steps_than_its_epochs_allow():
    """A fifth of a million tokens is wanted of ten thousand that may be seen four times."""

    def portion(name: str, num_tokens: int, *times: float) -> Portion:
        return Portion(
            name=name,
            group=name,
            folder=name,
            times=times,
            num_documents=1,
            num_bytes=4 * num_tokens,
            num_tokens=num_tokens,
        )

    rules = MixRules(token_budget=1_000_000, phases=[Phase(name="anneal", share=0.2)])
    table = mixture_table(
        rules, [portion("best", 10_000, 0, 1), portion("web", 990_000, 1, 0)], are_exact=True
    )
    assert [phase["target_tokens"] for phase in table["phases"]] == [800_000, 40_000]
    num_steps = 840  # of a thousand tokens
    main, anneal = phase_schedule(table["phases"], {"best", "web"}, num_steps)
    assert (set(main.weights), set(anneal.weights)) == ({"web"}, {"best"})
    assert (num_steps - anneal.first_step) * 1_000 == 4 * 10_000


def test_the_table_is_printed_on_the_command_line(tokens: Artifact):
    table = json.loads(tokens.fetch("mixture.json").read_text())

    def bloomery(*options: str) -> str:
        command = ["mixture", str(tokens.ref), "--store", str(tokens.store.url), *options]
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
        return done.output

    *groups, total = json.loads(bloomery("--json", "--tokens", "1000000"))["groups"]
    for own, row in zip(groups, table["groups"], strict=True):
        assert own["epochs"] == pytest.approx(row["weight"] * 1_000_000 / row["tokens"])
    assert total["taken_tokens"] == 1_000_000
    printed = bloomery()
    assert f"| digits | {table['groups'][0]['tokens']:,} | " in printed
    assert "| phase | main | anneal |" in printed
    wrong = CliRunner().invoke(main, ["mixture", "crawl/0123", "--store", str(tokens.store.url)])
    assert wrong.exit_code == 2

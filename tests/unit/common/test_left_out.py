"""From a batch that training left out to the pages it was made of, through real stages."""

import json

import pytest
from click.testing import CliRunner

from flows.cli import main
from model.chat import load_tokenizer
from model.tokens import TokenShard
from tasks.common.left_out import documents_left_out
from tasks.common.robustness import RobustnessConfig
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.common.training import METRICS_NAME
from tasks.common.training_log import TrainingLog
from tasks.mix.config import MixConfig
from tasks.mix.stage import STAGE as MIX
from tasks.pretrain.config import PretrainConfig
from tasks.pretrain.stage import STAGE as PRETRAIN
from tasks.tokenizer.config import TokenizerConfig
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.tokens.config import TokensConfig
from tasks.tokens.stage import STAGE as TOKENS
from tests.stages import given

WORDS = ("river", "stone", "window", "garden", "letter", "winter", "market", "bridge")
JUMPY = RobustnessConfig(on_spike="skip", spike_sigmas=0.01, window_steps=2, max_skips_in_a_row=9)


def texts() -> list[dict]:
    return [
        {
            "id": f"{n:032x}",
            "url": f"https://pages.example/{n}",
            "text": " ".join(WORDS[(n * k) % 8] + str(n) for k in range(1, 30)),
            "source": ("web", "books")[n % 2],
        }
        for n in range(60)
    ]


@pytest.fixture
def trained(machine: Machine):
    """A mixture of two groups in several shards, and a model whose guard is very easily alarmed."""
    mixed, _ = materialise(
        MIX, MixConfig(shard_bytes=3_000), {"documents": [given(machine, [texts()])]}, machine
    )
    learned, _ = materialise(
        TOKENIZER, TokenizerConfig(vocab_size=400), {"documents": [mixed.ref]}, machine
    )
    inputs = {"documents": [mixed.ref], "tokenizer": [learned.ref]}
    tokens, _ = materialise(TOKENS, TokensConfig(), inputs, machine)
    config = PretrainConfig(
        model="gpt2-demo", steps=8, batch_size=2, seq_len=16, warmup_steps=1, robustness=JUMPY
    )
    return materialise(PRETRAIN, config, {"tokens": [tokens.ref], "checkpoint": []}, machine)[0]


def test_the_pages_of_a_batch_that_was_left_out_are_told(machine, store: Store, trained):
    rows = list(documents_left_out(store, list(store.manifests()), trained.ref))
    events = TrainingLog.read(store.open(trained.ref).fetch(METRICS_NAME)).of("skipped")
    assert trained.metrics["skipped_batches"] == len(events) > 0
    assert trained.metrics["rollbacks"] == 0
    known = {row["id"]: row for row in texts()}
    assert all(row["url"] == known[row["id"]]["url"] for row in rows)
    # The witness: what the tokens at the places that the log names say, in words.
    (tokens,) = trained.input_refs
    tokenizer = load_tokenizer(store.open(tokens).fetch("tokenizer.json"))
    by_text = {row["text"]: row["id"] for row in texts()}
    for event in events:
        assert [row["id"] for row in rows if row["step"] == event["step"]] == [
            by_text[tokenizer.decode(TokenShard(file).document(place).tolist())]
            for file, places in event["documents"].items()
            for place in places
        ]
    said = CliRunner().invoke(
        main, ["lineage", str(trained.ref), "--skipped", "--json", "--store", machine.store]
    )
    assert said.exit_code == 0, said.output
    assert [json.loads(line) for line in said.output.splitlines()] == rows

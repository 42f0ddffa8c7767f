"""The search where the best mixture is obvious: only one group speaks the target's words."""

import json
import random
from collections.abc import Mapping

import pytest
import yaml
from pydantic import ValidationError

from tasks.common.manifest import ArtifactRef
from tasks.common.mix_table import Step
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store, Workspace
from tasks.mix.config import MixConfig
from tasks.mix.stage import STAGE as MIX
from tasks.regmix.config import RegmixConfig
from tasks.regmix.stage import STAGE, portion_weights, shares_and_limits, trainable_groups
from tasks.tokenizer.config import TokenizerConfig
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.tokens.config import TokensConfig
from tasks.tokens.stage import STAGE as TOKENS
from tests.stages import given

WORDS = {
    "sea": "anchor mast harbour tide keel buoy reef gull",
    "kitchen": "flour oven dough whisk garlic spoon salt pan",
    "yard": "spade fence barrow hedge mulch rake pond shed",
}
CONFIG = RegmixConfig(
    targets=["sea"],
    num_runs=10,
    steps=15,
    batch_size=4,
    seq_len=32,
    eval_tokens=512,
    num_simulated=2_000,
    num_top=20,
    min_strength=0.3,
    max_strength=1.0,
)


def make_tokens(
    machine: Machine, copies: Mapping[str, tuple[int, int]] | None = None, **mix
) -> ArtifactRef:
    """``copies``: clusters' sizes of every other document of a group."""
    rng = random.Random(0)
    rows = [
        {
            "id": f"{group}{n}",
            "text": " ".join(rng.choices(words.split(), k=60)),
            "source": group,
            "cluster_size": (copies or {}).get(group, (1, 1))[n % 2],
        }
        for group, words in WORDS.items()
        for n in range(60)
    ]
    config = MixConfig(validation_share=0.2, token_budget=10_000, **mix)
    mixed = materialise(MIX, config, {"documents": [given(machine, [rows])]}, machine)[0].ref
    learned = materialise(
        TOKENIZER, TokenizerConfig(vocab_size=330), {"documents": [mixed]}, machine
    )[0].ref
    inputs = {"documents": [mixed], "tokenizer": [learned]}
    return materialise(TOKENS, TokensConfig(), inputs, machine)[0].ref


def test_the_group_that_helps_gets_the_weight(machine: Machine, store: Store):
    tokens = make_tokens(machine)
    manifest, _ = materialise(STAGE, CONFIG, {"tokens": [tokens]}, machine)
    weights = manifest.metrics["weights"]
    assert max(weights, key=weights.get) == "sea"
    assert weights["sea"] > 0.5
    assert sum(weights.values()) == pytest.approx(1, abs=1e-3)
    assert max(manifest.metrics["rank_correlations"].values()) > 0.5
    artifact = store.open(manifest.ref)
    ready = yaml.safe_load(artifact.fetch("weights.yaml").read_text())
    assert {w["group"]: w["weight"] for w in ready["mix"]["weights"]} == weights
    MixConfig(**ready["mix"])
    runs = json.loads(artifact.fetch("runs.json").read_text())
    assert len(runs) == 10
    assert all(run["target_loss"] == run["losses"]["sea"] for run in runs)
    summary = artifact.fetch("summary.md").read_text()
    assert summary.count("data:image/png;base64,") == 2
    assert "--set 'mix.weights=" in summary


def test_a_killed_search_goes_on_and_finds_the_same(machine: Machine, store: Store):
    tokens = make_tokens(machine)
    inputs, real, num_commits = {"tokens": [tokens]}, Workspace.commit, 0

    def commit(self, key, *args):
        nonlocal num_commits
        real(self, key, *args)
        num_commits += 1
        if num_commits == 4:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Workspace, "commit", commit)
        with pytest.raises(KeyboardInterrupt):
            materialise(STAGE, CONFIG, inputs, machine)
        found, _ = materialise(STAGE, CONFIG, inputs, machine)
    assert num_commits == CONFIG.num_runs  # none was made twice
    other = Machine(store=f"{machine.store}-other", num_workers=1)
    assert make_tokens(other) == tokens
    whole, _ = materialise(STAGE, CONFIG, inputs, other)
    assert [(e.name, e.sha256) for e in found.files] == [(e.name, e.sha256) for e in whole.files]


def test_a_search_heeds_the_epoch_limits(machine: Machine):
    tokens = make_tokens(machine, max_epochs_by_group={"sea": 0.2})
    manifest, _ = materialise(STAGE, CONFIG, {"tokens": [tokens]}, machine)
    table = Store(machine.store).manifest(tokens).metrics["mixture"]
    (sea,) = (row for row in table["groups"] if row["group"] == "sea")
    assert manifest.metrics["weights"]["sea"] <= 0.2 * sea["tokens"] / 10_000 + 1e-3


def test_the_weights_written_make_the_mixture_found(machine: Machine, store: Store):
    tokens = make_tokens(machine, multiply={"sea": 4.0, "yard": 0.5})
    manifest, _ = materialise(STAGE, CONFIG, {"tokens": [tokens]}, machine)
    written = yaml.safe_load(store.open(manifest.ref).fetch("weights.yaml").read_text())["mix"]
    again = make_tokens(machine, multiply={"sea": 4.0, "yard": 0.5}, **written)
    rows = store.manifest(again).metrics["mixture"]["groups"]
    found = {row["group"]: row["weight"] for row in rows}
    assert found == pytest.approx(manifest.metrics["weights"], abs=1e-3)
    assert (
        json.dumps(written["weights"]) in store.open(manifest.ref).fetch("summary.md").read_text()
    )


def test_a_search_without_a_choice_is_refused(machine: Machine):
    tokens = make_tokens(machine, max_epochs=0.25)
    table = Store(machine.store).manifest(tokens).metrics["mixture"]
    assert 0.25 * sum(row["tokens"] for row in table["groups"]) < table["token_budget"]
    with pytest.raises(ValueError, match=r"leave no choice.*lower mix\.token_budget"):
        materialise(STAGE, CONFIG, {"tokens": [tokens]}, machine)
    with pytest.raises(ValidationError, match="min_strength 2 is above max_strength 1"):
        RegmixConfig(min_strength=2, max_strength=1)


def test_only_what_the_main_phase_trains_on_is_searched(machine: Machine, store: Store):
    """Of the kitchen all, of the sea half of the documents are never trained on."""
    steps = [Step(at_least=2, times=0)]
    copies = {"sea": (1, 2), "kitchen": (2, 2), "yard": (1, 1)}
    tokens = make_tokens(machine, copies, rehydrate=steps)
    rows = trainable_groups(store.open(tokens), CONFIG)
    assert [row["group"] for row in rows] == ["sea", "yard"]
    rules = {"max_epochs": 1.0, "max_epochs_by_group": {}, "token_budget": 10}
    shares, _ = shares_and_limits(rules, rows, CONFIG.model_copy(update={"alpha": 1.0}))
    assert shares == pytest.approx([1 / 3, 2 / 3], abs=0.06)


def test_a_group_multiplied_by_nothing_is_not_searched(machine: Machine, store: Store):
    rows = trainable_groups(store.open(make_tokens(machine, multiply={"sea": 0})), CONFIG)
    assert [row["group"] for row in rows] == ["kitchen", "yard"]


def test_unknown_targets_and_too_few_groups_are_refused(machine: Machine):
    tokens = make_tokens(machine)
    config = CONFIG.model_copy(update={"targets": ["moon"]})
    with pytest.raises(ValueError, match=r"\['moon'\] are none of the groups \['kitchen'"):
        materialise(STAGE, config, {"tokens": [tokens]}, machine)
    config = CONFIG.model_copy(update={"seq_len": 100_000})
    with pytest.raises(ValueError, match="two groups or more"):
        materialise(STAGE, config, {"tokens": [tokens]}, machine)


def test_portions_share_their_groups_weight_as_they_count():
    rows = [
        {
            "portions": [
                {"name": "a~1", "tokens": 100, "times": [1.0]},
                {"name": "a~3", "tokens": 100, "times": [3.0]},
            ]
        },
        {"portions": [{"name": "b", "tokens": 7, "times": [1.0]}]},
    ]
    assert portion_weights(rows, [0.8, 0.2]) == pytest.approx({"a~1": 0.2, "a~3": 0.6, "b": 0.2})

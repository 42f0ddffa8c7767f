"""What a tokenizer learns from: each portion of the mixture as much as it is trained on."""

from model.chat import load_tokenizer
from tasks.common.mix_table import Step
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.mix.config import MixConfig
from tasks.mix.stage import STAGE as MIX
from tasks.tokenizer.config import TokenizerConfig
from tasks.tokenizer.stage import STAGE
from tests.stages import given

WORDS = {1: "anchor harbour ", 2: "zeppelin gondola ", 3: "kitchen garlic "}  # by copies


def test_each_portion_of_a_group_is_read_as_much_as_it_counts(machine: Machine, store: Store):
    rows = [
        {"id": f"{copies}-{n}", "text": words * 8, "source": "web", "cluster_size": copies}
        for copies, words in WORDS.items()
        for n in range(200)
    ]
    steps = [Step(at_least=2, times=0), Step(at_least=3, times=3)]
    mixing = MixConfig(rehydrate=steps, validation_share=0, token_budget=1_000)
    mixed = materialise(MIX, mixing, {"documents": [given(machine, [rows])]}, machine)[0]
    (row,) = mixed.metrics["mixture"]["groups"]
    assert [own["times"] for own in row["portions"]] == [[0.0], [1.0], [3.0]]
    config = TokenizerConfig(vocab_size=400, max_train_bytes=8_000)
    made, _ = materialise(STAGE, config, {"documents": [mixed.ref]}, machine)
    assert 8_000 <= made.metrics["train_bytes"] <= 8_000 + 2 * 8 * max(map(len, WORDS.values()))
    vocabulary = load_tokenizer(store.open(made.ref).fetch("tokenizer.json")).get_vocab()
    known = {word.strip("Ġ") for word in vocabulary}
    assert {"anchor", "harbour", "kitchen", "garlic"} <= known
    assert not {"zeppelin", "gondola"} & known

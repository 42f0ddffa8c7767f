"""The training stages compute what they did: a change of it without a new version is caught.

Losses are compared to four digits, for machines differ in the last ones. A change that was meant
raises the stage's ``version``; then ``GOLDEN_REFRESH=1 python -m pytest tests/golden``.
"""

import json
import os
from pathlib import Path

import pytest

from model.chat import encode_document, prepare_tokenizer
from model.tokens import TokenWriter
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.dpo.stage import STAGE as DPO
from tasks.pretrain.stage import STAGE as PRETRAIN
from tasks.sft.stage import STAGE as SFT
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig
from tests.stages import given
from tests.unit.posttraining.checkpoint import COPY, Folder

GOLDEN_FILE = Path(__file__).parent / "golden-training.json"
TEXT = "iron and coal and the flux in the kiln make bloom and ash and ember "
RUN = {"steps": 3, "batch_size": 2, "warmup_steps": 1, "eval_every_steps": 3, "eval_batches": 1}
SAID = [{"role": "user", "content": "iron?"}, {"role": "assistant", "content": "and coal"}]
PAIR = {"prompt": SAID[:1], "chosen": "and coal", "rejected": "ash"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each stage, one after the other, said of its losses."""
    folder = tmp_path_factory.mktemp("golden")
    machine = Machine(store=str(folder / "store"), num_workers=1, device="cpu")
    records = {
        f"{kind}-{split}.jsonl": "".join(
            json.dumps({"id": str(n), **record}) + "\n" for n in range(4)
        )
        for kind, record in (("sft", {"messages": SAID}), ("preferences", PAIR))
        for split in ("train", "validation")
    }
    instructions = given(machine, files=records)
    tokens = _tokens(folder / "tokens", machine)
    checkpoint, losses = [], {}
    for stage, values, inputs in (
        (PRETRAIN, {"model": "llama-tiny", "seq_len": 32}, {"tokens": [tokens]}),
        (SFT, {"max_tokens": 32}, {"instructions": [instructions]}),
        (DPO, {"max_tokens": 32}, {"preferences": [instructions]}),
    ):
        config = stage.config.model_validate(RUN | values)
        made, _ = materialise(stage, config, inputs | {"checkpoint": checkpoint}, machine)
        log = Store(machine.store).open(made.ref).fetch("metrics.jsonl").read_text()
        events = [json.loads(line) for line in log.splitlines()]
        told = [event["loss"] for event in events if event["event"] == "step"]
        losses[stage.name] = {
            "version": stage.version,
            "losses": [float(f"{loss:.5g}") for loss in (*told, made.metrics["val_loss"])],
        }
        checkpoint = [made.ref]
    if os.environ.get("GOLDEN_REFRESH"):
        known = json.loads(GOLDEN_FILE.read_text())
        raised = {n: own for n, own in losses.items() if own["version"] != known[n]["version"]}
        GOLDEN_FILE.write_text(json.dumps(known | raised, indent=1) + "\n")
    return losses


def _tokens(folder, machine):
    """Token shards as the tokens stage leaves them."""
    folder.mkdir()
    vocabulary = prepare_tokenizer(train_bpe([TEXT], TokenizerConfig(vocab_size=320)))
    vocabulary.save(str(folder / "tokenizer.json"))
    for split in ("train", "validation"):
        place = folder / split / "web"
        with TokenWriter(place, "part-00000", vocabulary.get_vocab_size()) as out:
            out.add(encode_document(vocabulary, TEXT * 40))
    portion = {"name": "web", "folder": "web", "tokens": out.num_tokens}
    row = {"group": "web", "folder": "web", "portions": [portion]}
    row["validation_tokens"] = out.num_tokens
    phase = {"name": "main", "share": 1.0, "target_tokens": 10_000, "weights": {"web": 1.0}}
    (folder / "mixture.json").write_text(json.dumps({"groups": [row], "phases": [phase]}))
    return materialise(COPY, Folder(path=str(folder)), {}, machine)[0].ref


@pytest.mark.parametrize("stage", [PRETRAIN, SFT, DPO], ids=lambda stage: stage.name)
def test_what_a_training_stage_computes_changes_with_its_version(found, stage):
    golden = json.loads(GOLDEN_FILE.read_text())[stage.name]
    assert golden["version"] == stage.version, "GOLDEN_REFRESH=1 python -m pytest tests/golden"
    assert found[stage.name]["losses"] == pytest.approx(golden["losses"], rel=1e-4), (
        f"{stage.name} computes something else; if you meant it, raise its version and refresh"
    )

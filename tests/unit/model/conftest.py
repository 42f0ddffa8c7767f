"""A tokenizer, a model and data small enough to train in a second."""

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from model.architectures import ModelConfig
from model.chat import SPECIAL_TOKENS, encode_document, load_tokenizer
from model.job import PretrainData, RecordData, TrainJob
from model.options import OptimConfig
from model.tokens import TokenWriter

WORDS = ["ash", "bloom", "coal", "draw", "ember", "flux", "gate", "iron", "jet", "kiln", "ore"]
VOCAB_SIZE = 320


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(5, 40))) + "."


@pytest.fixture(autouse=True)
def _one_thread():
    """Tiny tensors run faster on one thread, and workers do not fight over cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    rng = random.Random(0)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((sentence(rng) for _ in range(200)), trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def tokenizer(tokenizer_path: Path) -> Tokenizer:
    return load_tokenizer(tokenizer_path)


@pytest.fixture(scope="session")
def tiny() -> ModelConfig:
    return ModelConfig(
        vocab_size=VOCAB_SIZE,
        width=32,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        max_seq_len=64,
        mlp_width=48,
    )


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """web.bin, code.bin, val.bin, sft.jsonl, dpo.jsonl."""
    folder = tmp_path_factory.mktemp("data")
    rng = random.Random(1)
    for name, documents in (("web", 60), ("code", 20), ("val", 10)):
        with TokenWriter(folder, name, VOCAB_SIZE) as out:
            for _ in range(documents):
                out.add(encode_document(tokenizer, sentence(rng)))
    sft, dpo = [], []
    for number in range(24):
        question = {"role": "user", "content": f"{rng.choice(WORDS)} {number}?"}
        answer, other = " ".join(rng.choices(WORDS, k=rng.randint(1, 5))), rng.choice(WORDS)
        said = {"role": "assistant", "content": answer}
        sft.append({"id": str(number), "messages": [question, said]})
        dpo.append({"id": str(number), "prompt": [question], "chosen": answer, "rejected": other})
    for name, records in (("sft", sft), ("dpo", dpo)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return folder


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory, tiny: ModelConfig, tokenizer_path: Path):
    """An exported, untrained model to start sft and dpo from."""
    from model.checkpoint import export_model
    from model.decoder import Decoder

    torch.manual_seed(7)
    return export_model(tmp_path_factory.mktemp("base") / "model", Decoder(tiny), tokenizer_path)


@pytest.fixture
def make_job(
    tmp_path: Path, data: Path, tiny: ModelConfig, tokenizer_path: Path, base_model: Path
) -> Callable[..., TrainJob]:
    """A job of the given objective; any field can be overruled."""

    def make(objective: str, **changes) -> TrainJob:
        fields = {
            "objective": objective,
            "out_dir": str(tmp_path / "out"),
            "steps": 10,
            "seq_len": 32,
            "batch_size": 4,
            "micro_batch_size": 2,
            "threads": 1,
            "optim": OptimConfig(lr=3e-3, warmup_steps=2),
            "eval_every_steps": 5,
            "checkpoint_every_seconds": None,
            "device": "cpu",
        }
        if objective in ("pretrain", "mlm"):
            fields |= {"model": tiny, "tokenizer": str(tokenizer_path)}
            fields["data"] = PretrainData(
                groups={"web": [str(data / "web.bin")], "code": [str(data / "code.bin")]},
                weights={"web": 0.7, "code": 0.3},
                val=[str(data / "val.bin")],
            )
        else:
            file = str(data / f"{objective}.jsonl")
            fields |= {"init_from": str(base_model), "data": RecordData(train=file, val=file)}
            fields["seq_len"] = 64
        return TrainJob(**(fields | changes))

    return make


@pytest.fixture
def write_job(tmp_path: Path) -> Callable[[TrainJob], Path]:
    def write(job: TrainJob, name: str = "job.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(job.to_json_dict()))
        return path

    return write


@pytest.fixture
def replace():
    return dataclasses.replace

"""LoRA against full fine-tuning: validation loss, parameters trained, CPU time and memory.

    python -m tests.benchmarks.lora --data PATH [--base FOLDER] [--quick]

``--data`` is a folder with ``text`` and ``sft``. Without a ``--base`` (an exported decoder) one is
pretrained first: a million parameters, on encyclopedia text and on a part of the instructions as
plain text, so that fine-tuning has the form to teach and not the language. Then both ways of
training go over the same instructions (of Databricks' Dolly, another part) with the same batches,
each with its own sweep of learning rates; what counts is each one's best, on a third part. Every
run is a process of its own: its CPU time and its peak of memory are the system's own figures.
"""

import argparse
import gzip
import io
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import zstandard

from model.adapters import add_adapters, trained_state
from model.architectures import ModelConfig
from model.chat import encode_documents, prepare_tokenizer
from model.checkpoint import load_model
from model.decoder import Decoder
from model.job import PretrainData, RecordData, TrainJob
from model.options import FinetuneConfig, OptimConfig
from model.tokens import TokenWriter
from model.trainer import Trainer, train
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig

VOCAB_SIZE, SEQ_LEN = 2048, 128
SHAPE = {"width": 128, "n_layers": 4, "n_heads": 4, "n_kv_heads": 2, "mlp_width": 352}
ENCYCLOPEDIA = "text/encyclopedia/enwiki-2015.jsonl.zst"
INSTRUCTIONS = "sft/dolly-5k-nocontext.jsonl.gz"
NUM_VALIDATION, NUM_AS_TEXT = 160, 1_900
LORA = FinetuneConfig(rank=1, alpha=2.0)
RATES = {"full": (3e-4, 1e-3, 3e-3), "lora": (5e-3, 1.5e-2, 4e-2)}


@dataclass(frozen=True)
class Run:
    """One training, as it was measured."""

    method: str
    lr: float
    val_loss: float
    cpu_seconds: float
    peak_megabytes: float


def main() -> None:
    """Print a table, and whether LoRA kept within the bounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", type=Path, help="an exported decoder to fine-tune")
    parser.add_argument("--pretrain-steps", type=int, default=1_500)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=8, help="conversations in a step")
    parser.add_argument("--keep", type=Path, help="a folder to work in, and to go on in")
    parser.add_argument("--quick", action="store_true", help="a minute: see that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.pretrain_steps, arguments.steps = 100, 4
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        _compare(arguments, folder)


def _compare(arguments: argparse.Namespace, folder: Path) -> None:
    records = list(_read(arguments.data / INSTRUCTIONS))
    validation, as_text = records[:NUM_VALIDATION], records[NUM_VALIDATION:][:NUM_AS_TEXT]
    trained = records[NUM_VALIDATION + NUM_AS_TEXT :]
    base = arguments.base or _pretrained(arguments, folder, as_text)
    for name, own in (("train", trained), ("val", validation)):
        lines = (json.dumps({"id": r["id"], "messages": _messages(r)}) for r in own)
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    runs = [
        _finetune(arguments, folder, base, method, lr)
        for method, rates in RATES.items()
        for lr in rates
    ]
    before = _loss_before(_job(arguments, folder, base, "full", 1.0))
    best = {m: min((r for r in runs if r.method == m), key=lambda r: r.val_loss) for m in RATES}
    share = _trained_share(base)
    size = load_model(base)[0].num_parameters()
    print(json.dumps({"base_parameters": size, "val_loss_before": round(before, 4)}))
    print(json.dumps({"lora_share_of_parameters": round(share, 5)}))
    for run in runs:
        print(json.dumps(asdict(run) | {"best": run == best[run.method]}))
    ratio = best["lora"].val_loss / best["full"].val_loss
    gain = (before - best["lora"].val_loss) / (before - best["full"].val_loss)
    found = {"lora_loss_over_full": round(ratio, 4), "share_of_fulls_gain": round(gain, 3)}
    print(json.dumps(found | {"within_bounds": ratio < 1.02 and share < 0.01}))


def _pretrained(
    arguments: argparse.Namespace, folder: Path, as_text: Sequence[dict[str, Any]]
) -> Path:
    """A base that was trained here."""
    wanted_chars = 6 * arguments.pretrain_steps * 8 * SEQ_LEN  # more than it will read
    texts = {"web": [], "form": [f"{r['instruction']}\n{r['response']}" for r in as_text]}
    for record in _read(arguments.data / ENCYCLOPEDIA):
        texts["web"].append(record["text"])
        wanted_chars -= len(record["text"])
        if wanted_chars < 0:
            break
    tokenizer = prepare_tokenizer(
        train_bpe([*texts["web"][:300], *texts["form"]], TokenizerConfig(vocab_size=VOCAB_SIZE))
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    texts["val"], texts["web"] = texts["web"][:20], texts["web"][20:]
    for name, own in texts.items():
        with TokenWriter(folder, name, VOCAB_SIZE) as out:
            for ids in encode_documents(tokenizer, own):
                out.add(ids)
    job = TrainJob(
        objective="pretrain",
        model=ModelConfig(vocab_size=VOCAB_SIZE, max_seq_len=SEQ_LEN, **SHAPE),
        tokenizer=str(folder / "tokenizer.json"),
        data=PretrainData(
            groups={name: [str(folder / f"{name}.bin")] for name in ("web", "form")},
            weights={"web": 0.5, "form": 0.5},
            val=[str(folder / "val.bin")],
        ),
        out_dir=str(folder / "base"),
        steps=arguments.pretrain_steps,
        seq_len=SEQ_LEN,
        batch_size=8,
        optim=OptimConfig(lr=3e-3, warmup_steps=20),
        eval_every_steps=100,
        eval_batches=4,
        threads=1,
        device="cpu",
    )
    event, cpu_seconds, _ = _measured(job)
    print(json.dumps({"pretrained": event, "cpu_seconds": round(cpu_seconds, 1)}), flush=True)
    return folder / "base" / "final"


def _finetune(
    arguments: argparse.Namespace, folder: Path, base: Path, method: str, lr: float
) -> Run:
    job = _job(arguments, folder, base, method, lr)
    event, cpu_seconds, peak_megabytes = _measured(job)
    run = Run(method, lr, event["val_loss"], round(cpu_seconds, 1), round(peak_megabytes))
    print(json.dumps(asdict(run)), file=sys.stderr, flush=True)
    return run


def _job(
    arguments: argparse.Namespace, folder: Path, base: Path, method: str, lr: float
) -> TrainJob:
    return TrainJob(
        objective="sft",
        init_from=str(base),
        finetune=LORA if method == "lora" else None,
        data=RecordData(train=str(folder / "train.jsonl"), val=str(folder / "val.jsonl")),
        out_dir=str(folder / f"{method}-{lr}"),
        steps=arguments.steps,
        seq_len=SEQ_LEN,
        batch_size=arguments.batch_size,
        micro_batch_size=8,
        optim=OptimConfig(lr=lr, warmup_steps=5, weight_decay=0.0),
        eval_every_steps=arguments.steps,
        threads=1,
        device="cpu",
    )


def _loss_before(job: TrainJob) -> float:
    """What the base gives the instructions that are held out."""
    trainer = Trainer(job)
    trainer.close()
    return trainer.evaluate()["val_loss"]


def _measured(job: TrainJob) -> tuple[dict[str, Any], float, float]:
    """The closing event of a run, its CPU seconds and its peak of memory in megabytes."""
    process = os.fork()  # nothing has been computed here yet: there are no threads to lose
    if process == 0:
        try:
            train(job)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"training ended with status {status}")
    lines = (Path(job.out_dir) / "metrics.jsonl").read_text().splitlines()
    done = json.loads(lines[-1])
    return done, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def _trained_share(base: Path) -> float:
    model, _ = load_model(base)
    assert isinstance(model, Decoder)
    total = model.num_parameters()
    add_adapters(model, LORA)
    return sum(p.numel() for p in trained_state(model).values()) / total


def _messages(record: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": record["instruction"]},
        {"role": "assistant", "content": record["response"]},
    ]


def _read(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)
        return
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        yield from map(json.loads, io.TextIOWrapper(reader, encoding="utf-8"))


if __name__ == "__main__":
    main()

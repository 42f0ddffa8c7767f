"""The commands that take one model: let it speak, measure it, and carry it in and out.

In: what a user typed. Out: a program of ``model/``, which needs torch, in a process of its own.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from flows.options import json_option, store_at, store_option

MODEL_STAGES = ("pretrain", "sft", "dpo")
DTYPES = ("float32", "bfloat16", "float16")


def _device(ctx: click.Context, param: click.Parameter, name: str | None) -> str | None:
    if name is not None and not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise click.BadParameter(f"{name!r} is none of auto, cpu, cuda, cuda:N")
    return name


device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    callback=_device,
    help="auto, cpu, cuda or cuda:N.",
)


class Numbers(click.ParamType):
    """Numbers in a range, with commas or blanks between them."""

    name = "numbers"

    def __init__(self, kind: Callable[[str], float], least: float, most: float = float("inf")):
        self._kind, self._least, self._most = kind, least, most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[float]:
        """The numbers; a usage error names the first that is none, or out of range."""
        found = []
        for each in value.replace(",", " ").split():
            try:
                number = self._kind(each)
            except ValueError:
                self.fail(f"{each!r} is not a number", param, ctx)
            if not self._least <= number <= self._most:
                self.fail(f"{each} is not between {self._least} and {self._most}", param, ctx)
            found.append(number)
        return found


@click.command()
@click.argument("checkpoint")
@click.option("--prompt", required=True, help="What the model continues, or is asked.")
@click.option("--chat/--no-chat", default=None, help="Ask, or continue.  [default: by the model]")
@click.option("--max-new-tokens", default=128, show_default=True, type=click.IntRange(1))
@click.option("--temperature", default=0.0, show_default=True, type=click.FloatRange(0))
@click.option("--top-k", type=click.IntRange(1), help="Keep so many of the likeliest tokens.")
@click.option(
    "--top-p", type=click.FloatRange(0, 1), help="Keep the likeliest tokens of this share."
)
@click.option(
    "--min-p", type=click.FloatRange(0, 1), help="Keep tokens this share as likely as the first."
)
@click.option("--seed", default=0, show_default=True)
@click.option("--stop", multiple=True, help="End before this text; may be given again.")
@click.option("--logprobs", is_flag=True, help="List each token's log-probability, in nats.")
@click.option("--compile", is_flag=True, help="Compile the step: for long answers on a GPU.")
@device_option
@click.option("--dtype", type=click.Choice(DTYPES), default="float32", help="Of the weights.")
@store_option
def generate(
    checkpoint: str, prompt: str, chat: bool | None, store: str | None, **settings: Any
) -> None:
    """Let a model speak. CHECKPOINT is an artifact, a name such as model/demo, or a folder."""
    folder, stage = _checkpoint_folder(checkpoint, store)
    if chat is None:
        chat = stage not in (None, "pretrain")
    options = _as_options({"prompt": prompt, "chat": chat, **settings})
    _run_model("model.generate", str(folder), *options)


@click.command("find-lr")
@click.argument("job")
@click.option("--output", default="lr-finder", show_default=True, type=click.Path(path_type=Path))
@click.option("--steps", default=100, show_default=True, type=click.IntRange(10))
@click.option("--min-lr", default=1e-6, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--max-lr", default=1.0, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--sweep", multiple=True, type=float, metavar="LR", help="Compare rates; repeat it.")
@click.option("--device", callback=_device, help="auto, cpu, cuda or cuda:N.  [default: the job's]")
@store_option
def find_lr(
    job: str,
    output: Path,
    steps: int,
    min_lr: float,
    max_lr: float,
    sweep: Sequence[float],
    device: str | None,
    store: str | None,
) -> None:
    """Find a learning rate for training that was done before, or for a job file.

    JOB is a model in the store, such as model/demo or pretrain/0123, whose training is tried again
    with other rates, or a job file of the engine. Nothing of it is changed.

    \b
    bloomery find-lr model/demo                              rising from 1e-6 to 1, one short run
    bloomery find-lr model/demo --sweep 3e-4 --sweep 1e-3    a short run for each rate
    """
    path = Path(job)
    if not path.is_file():
        path = _checkpoint_folder(job, store)[0] / "job.json"
        if not path.exists():
            raise ValueError(f"{path} is missing: the model was trained before jobs were kept")
    options = ["--output", str(output.resolve()), "--steps", str(steps)]
    options += ["--min-lr", str(min_lr), "--max-lr", str(max_lr)]
    options += ["--device", device] if device else []
    if sweep:
        options += ["--sweep", *map(str, sweep)]
    _run_model("model.lr_finder", str(path.resolve()), *options)


@click.command()
@click.argument("checkpoint")
@click.option(
    "--text",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Plain text, longer than the longest of the lengths.",
)
@click.option(
    "--lengths",
    type=Numbers(int, 1),
    help="Tokens, such as 1024,4096.  [default: up to its context]",
)
@click.option(
    "--depths",
    type=Numbers(float, 0, 1),
    help="0 the beginning, 1 the end.  [default: 0,0.25,0.5,0.75,1]",
)
@click.option("--questions", default=10, show_default=True, type=click.IntRange(1))
@device_option
@store_option
@json_option
def needle(
    checkpoint: str,
    text: Path,
    lengths: Sequence[int] | None,
    depths: Sequence[float] | None,
    questions: int,
    device: str,
    store: str | None,
    as_json: bool,
) -> None:
    """Ask a model for facts hidden in long texts: the share it finds, by depth and length.

    CHECKPOINT is an artifact, a name such as model/demo, or a folder.
    """
    folder, _ = _checkpoint_folder(checkpoint, store)
    options = ["--text", str(text.resolve()), "--questions", str(questions), "--device", device]
    options += ["--lengths", *map(str, lengths)] if lengths else []
    options += ["--depths", *map(str, depths)] if depths else []
    _run_model("model.needle", str(folder), *options, *(["--json"] if as_json else []))


@click.command("fill-mask")
@click.argument("checkpoint")
@click.option("--text", required=True, help="With one or more <|mask|>.")
@click.option("--candidates", default=5, show_default=True, type=click.IntRange(1))
@device_option
@store_option
def fill_mask(checkpoint: str, text: str, store: str | None, **settings: Any) -> None:
    """Let an encoder guess what is hidden. CHECKPOINT is a folder, or an artifact."""
    folder, _ = _checkpoint_folder(checkpoint, store)
    _run_model("model.fill_mask", str(folder), *_as_options({"text": text, **settings}))


@click.command()
@click.argument("checkpoint")
@click.option("--text", required=True, multiple=True, help="May be given again.")
@click.option("--labels", type=click.IntRange(1), help="So many of the likeliest.  [default: all]")
@device_option
@store_option
def classify(checkpoint: str, text: Sequence[str], store: str | None, **settings: Any) -> None:
    """Let an encoder with classes name a text's. CHECKPOINT is a folder, or an artifact."""
    folder, _ = _checkpoint_folder(checkpoint, store)
    _run_model("model.classify", str(folder), *_as_options({"text": text, **settings}))


@click.command("merge-adapter")
@click.argument("checkpoint")
@click.argument("adapter", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="A new folder.")
@store_option
def merge_adapter(checkpoint: str, adapter: Path, output: Path, store: str | None) -> None:
    """Add a LoRA to a model's weights. ADAPTER is a folder of the peft library's, or ours.

    CHECKPOINT is an artifact, a name such as model/demo, or a folder.
    """
    folder, _ = _checkpoint_folder(checkpoint, store)
    paths = [str(folder), str(adapter.resolve()), str(output.resolve())]
    _run_model("model.adapter_folder", "merge", *paths)


@click.command("unmerge-adapter")
@click.argument("checkpoint")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="A new folder.")
@store_option
def unmerge_adapter(checkpoint: str, output: Path, store: str | None) -> None:
    """Take the LoRA that lies beside a model, in adapter/, out of its weights again.

    CHECKPOINT is an artifact, a name such as model/demo, or a folder.
    """
    folder, _ = _checkpoint_folder(checkpoint, store)
    _run_model("model.adapter_folder", "unmerge", str(folder), str(output.resolve()))


@click.command("import-hf")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option(
    "--adapter",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of the peft library's: a LoRA to merge.",
)
def import_hf(folder: Path, output: Path, adapter: Path | None) -> None:
    """Read a Hugging Face model: GPT-2, LLaMA 1 to 3, Mistral, Qwen2, Qwen3 or BERT.

    FOLDER holds config.json, safetensors and tokenizer.json. The output is a checkpoint that
    `bloomery generate` and training take. The tokenizer keeps its ids and gets our special tokens.
    """
    options = [f"--adapter={adapter.resolve()}"] if adapter else []
    paths = [str(folder.resolve()), str(output.resolve())]
    _run_model("model.huggingface_folder", "import", *paths, *options)


@click.command("export-hf")
@click.argument("checkpoint")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32")
@store_option
def export_hf(checkpoint: str, output: Path, dtype: str, store: str | None) -> None:
    """Write a model as a folder that transformers loads, with its tokenizer and chat template.

    CHECKPOINT is an artifact, a name such as model/demo, or a folder.
    """
    folder, _ = _checkpoint_folder(checkpoint, store)
    options = [str(folder), str(output.resolve()), "--dtype", dtype]
    _run_model("model.huggingface_folder", "export", *options)


def _checkpoint_folder(checkpoint: str, store: str | None) -> tuple[Path, str | None]:
    """Where a model's files are, and the stage that made it if it is in the store."""
    folder = Path(checkpoint)
    if (folder / "model.safetensors").exists():
        return folder.resolve(), None
    found = store_at(store)
    try:
        ref = found.resolve(checkpoint)
    except ValueError:
        if folder.is_dir():
            raise ValueError(_no_model_in(folder)) from None
        raise
    if ref.stage not in MODEL_STAGES:
        raise ValueError(f"{ref} is no model; models are made by {', '.join(MODEL_STAGES)}")
    return found.open(ref).folder().resolve(), ref.stage


def _no_model_in(folder: Path) -> str:
    below = [path.parent for path in sorted(folder.glob("*/model.safetensors"))]
    mean = f"; did you mean {below[0]}?" if below else ""
    return f"{folder} is a folder, but there is no model.safetensors in it{mean}"


def _run_model(module: str, *arguments: str) -> None:
    """Run a program of ``model/``, which needs torch, in a process of its own; exit as it does."""
    command = [sys.executable, "-m", module, *arguments]
    sys.exit(subprocess.run(command, cwd=Path(__file__).parent.parent).returncode)


def _as_options(settings: Mapping[str, Any]) -> list[str]:
    """``{"top_k": 5, "chat": True, "stop": ("a",)}`` as a program takes it; nothing for None and
    False. A value may begin with a dash."""
    options = []
    for name, value in settings.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            options.append(flag)
        elif value is not None and value is not False:
            many = value if isinstance(value, tuple) else (value,)
            options += [f"{flag}={one}" for one in many]
    return options


COMMANDS = (
    *(generate, find_lr, needle, fill_mask, classify),
    *(import_hf, export_hf, merge_adapter, unmerge_adapter),
)

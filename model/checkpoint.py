"""Checkpoints to resume from, and exported models to use.

In: a model, an optimizer, a few counters. Out: folders that are either whole or not there.

``out_dir/checkpoints/step-00000123/``   everything that resuming needs; the last two are kept
``out_dir/final/``                       ``model.safetensors``, ``config.json``, ``tokenizer.json``;
                                         ``adapter/`` or ``finetune.json`` after fine-tuning beside

No pickle anywhere: opening somebody's checkpoint runs no code of theirs.
"""

import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from model.adapters import (
    add_adapters,
    can_merge,
    merged,
    trained_state,
)
from model.architectures import AnyModelConfig, model_config
from model.chat import load_tokenizer
from model.decoder import Decoder
from model.disk import room_for
from model.job import FinetuneConfig
from model.language_model import LanguageModel, make_model
from model.optim import AnyOptimizer
from model.peft_format import has_peft_format, save_peft

KEEP = 2
FINETUNE_NAME = "finetune.json"
ADAPTER_NAME = "adapter"
_CHECKSUMS = "checksums.json"
_KEPT = "kept."  # before the names of what a checkpoint holds for its caller
_SMALL_FILES_BYTES = 1 << 16  # configuration, counters and checksums, generously


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What ``load_checkpoint`` has put back, besides the model and the optimizer."""

    step: int
    state: dict[str, Any]
    """The trainer's counters and the loader's state, as they were given."""
    tensors: dict[str, Tensor]
    """What else was given to be kept, such as averages of weights."""


def save_checkpoint(
    folder: str | Path,
    step: int,
    model: LanguageModel,
    optimizer: AnyOptimizer,
    state: dict[str, Any],
    tensors: Mapping[str, Tensor] | None = None,
    reach_steps: int | None = None,
) -> Path:
    """Write ``folder/step-…`` whole or not at all, then drop all but the newest two.

    Args:
        tensors: more to keep.
        reach_steps: keep the newest that is so many steps older, too, to go back to.

    Raises:
        DiskFullError: there is no room; what was there before still is.
    """
    final = Path(folder) / f"step-{step:08d}"
    # Of a frozen model only what is trained beside it: the rest is where it was taken from.
    weights = trained_state(model) if model.finetune else model.state_dict()
    kept = {f"{_KEPT}{name}": t.detach().cpu().contiguous() for name, t in (tensors or {}).items()}
    kept |= _optimizer_tensors(optimizer) | _rng_tensors()
    with _made_whole(final, "a checkpoint", _num_bytes(weights, kept)) as partial:
        _write_weights(partial, weights)
        _write_json(partial / "config.json", model.config.to_json_dict())
        save_file(kept, partial / "trainer.safetensors")
        _write_json(partial / "trainer.json", {"step": step, "rng": _host_rng(), **state})
        _write_json(partial / _CHECKSUMS, _checksums(partial))
    for old in _superseded(_step_folders(folder), reach_steps):
        shutil.rmtree(old)
    return final


def load_checkpoint(path: str | Path, model: LanguageModel, optimizer: AnyOptimizer) -> Checkpoint:
    """Fill the model and the optimizer, set the random generators, give back the rest."""
    path = Path(path)
    problem = find_damage(path)
    if problem:
        good = latest_checkpoint(path.parent)
        remedy = (
            f"the newest good checkpoint is {good}" if good else "there is no good one beside it"
        )
        raise ValueError(f"checkpoint {path} is damaged ({problem}); {remedy}")
    read_weights(path, model)
    tensors = load_file(path / "trainer.safetensors")
    state = json.loads((path / "trainer.json").read_text())
    _restore_optimizer(optimizer, tensors)
    _restore_rng(tensors, state.pop("rng"))
    kept = {n.removeprefix(_KEPT): t for n, t in tensors.items() if n.startswith(_KEPT)}
    return Checkpoint(step=state.pop("step"), state=state, tensors=kept)


def latest_checkpoint(folder: str | Path, until_step: int | None = None) -> Path | None:
    """The newest checkpoint that is whole, and not of a later step than ``until_step``; or None."""
    for path in reversed(_step_folders(folder)):
        is_wanted = until_step is None or step_of(path) <= until_step
        if is_wanted and find_damage(path) is None:
            return path
    return None


def damaged_checkpoints(folder: str | Path) -> dict[Path, str]:
    """Those that a resuming run passes over, newer than the newest whole one, and what is wrong
    with each.

    Raises:
        ValueError: there are checkpoints, and none is whole.
    """
    damages: dict[Path, str] = {}
    for path in reversed(_step_folders(folder)):
        damage = find_damage(path)
        if damage is None:
            return damages
        damages[path] = damage
    if damages:
        told = "; ".join(f"{path.name}: {damage}" for path, damage in damages.items())
        raise ValueError(
            f"no checkpoint in {folder} is whole ({told}): put a whole one there, or delete that "
            "folder to start from the beginning"
        )
    return damages


def forget_checkpoints(folder: str | Path, after_step: int) -> None:
    """Delete the checkpoints of later steps: they are of a course that the run has left."""
    for path in _step_folders(folder):
        if step_of(path) > after_step:
            shutil.rmtree(path)


def step_of(path: Path) -> int:
    """The step of a checkpoint, by its name."""
    return int(path.name.split("-")[1])


def find_damage(path: str | Path) -> str | None:
    """What is wrong with a checkpoint folder, or None."""
    try:
        recorded = json.loads((Path(path) / _CHECKSUMS).read_text())
    except (OSError, ValueError):
        return f"{_CHECKSUMS} is missing or unreadable"
    actual = _checksums(Path(path))
    for name, digest in recorded.items():
        if name not in actual:
            return f"{name} is missing"
        if actual[name] != digest:
            return f"{name} does not match its checksum"
    return None


def export_model(folder: str | Path, model: LanguageModel, tokenizer_path: str | Path) -> Path:
    """Write a model to use elsewhere, with its tokenizer beside it. Same weights, same bytes.

    LoRA is merged into the weights, and where peft has a format for it, left in ``adapter/`` too.
    """
    final = Path(folder)
    tokenizer_bytes = Path(tokenizer_path).stat().st_size
    num_bytes = _num_bytes(model.state_dict()) + tokenizer_bytes
    with _made_whole(final, "the finished model", num_bytes) as partial:
        _export_weights(partial, model)
        shutil.copyfile(tokenizer_path, partial / "tokenizer.json")
    return final


def load_model(
    folder: str | Path, device: str | torch.device = "cpu"
) -> tuple[LanguageModel, Tokenizer]:
    """An exported model, ready to run, and its tokenizer."""
    folder = Path(folder)
    model = make_model(read_config(folder))
    beside = folder / FINETUNE_NAME
    if beside.exists():
        assert isinstance(model, Decoder)
        add_adapters(model, FinetuneConfig.from_json_dict(json.loads(beside.read_text())))
    read_weights(folder, model)
    return model.to(device).eval(), load_tokenizer(folder)


def write_model(folder: Path, model: LanguageModel) -> None:
    """``model.safetensors`` and ``config.json``."""
    _write_weights(folder, model.state_dict())
    _write_json(folder / "config.json", model.config.to_json_dict())


def _export_weights(folder: Path, model: LanguageModel) -> None:
    if model.finetune is None:
        write_model(folder, model)
        return
    assert isinstance(model, Decoder)
    if can_merge(model.finetune):
        write_model(folder, merged(model))
        if has_peft_format(model):
            save_peft(model, folder / ADAPTER_NAME)
    else:
        write_model(folder, model)
        _write_json(folder / FINETUNE_NAME, model.finetune.to_json_dict())


def _write_weights(folder: Path, state: Mapping[str, Tensor]) -> None:
    weights = {n: t.detach().cpu().contiguous() for n, t in state.items()}
    save_file(weights, folder / "model.safetensors")


def read_config(folder: str | Path) -> AnyModelConfig:
    """The shape of the model in a folder."""
    path = Path(folder) / "config.json"
    try:
        return model_config(json.loads(path.read_text()))
    except OSError as error:
        raise ValueError(f"{folder} is not an exported model: no config.json in it") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_weights(folder: Path, model: LanguageModel) -> None:
    """Fill a model of the same shape."""
    path = folder / "model.safetensors"
    try:
        _load_state(model, load_file(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} does not hold this model's weights: {error}") from error
    except Exception as error:  # safetensors has an exception of its own for damaged files
        raise ValueError(f"{path} is damaged: {error}") from error


def _load_state(model: LanguageModel, state: dict[str, Tensor]) -> None:
    trained = trained_state(model)
    if model.finetune and state.keys() == trained.keys():
        model.load_state_dict(state, strict=False)
    else:
        model.load_state_dict(state)


# --- optimizer and random generators as tensors ------------------------------------------------


def _optimizer_tensors(optimizer: AnyOptimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{name}": tensor.detach().cpu().contiguous()
        for index, entry in state.items()
        for name, tensor in entry.items()
    }


def _restore_optimizer(optimizer: AnyOptimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def _rng_tensors() -> dict[str, Tensor]:
    tensors = {"rng.torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    return tensors


def _host_rng() -> dict[str, list[Any]]:
    """The generators of ``random`` and of numpy, as plain JSON."""
    version, internal, gauss_next = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)
    assert isinstance(keys, np.ndarray)
    return {
        "python": [version, list(internal), gauss_next],
        "numpy": [name, keys.tolist(), *rest],
    }


def _restore_rng(tensors: dict[str, Tensor], host: dict[str, list[Any]]) -> None:
    torch.set_rng_state(tensors["rng.torch"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    version, internal, gauss_next = host["python"]
    random.setstate((version, tuple(internal), gauss_next))
    name, keys, position, has_gauss, cached = host["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))


# --- files ---------------------------------------------------------------------------------------


@contextmanager
def _made_whole(final: Path, what: str, num_bytes: int) -> Iterator[Path]:
    """A folder to write into, which becomes ``final`` at the end of the block, or is gone."""
    partial = final.with_name(f".{final.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with room_for(what, final, num_bytes):
            partial.mkdir(parents=True)
            yield partial
            _sync_folder(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(final, ignore_errors=True)  # the same, made by an earlier attempt
    partial.replace(final)
    _sync(final.parent)


def _num_bytes(*states: Mapping[str, Tensor]) -> int:
    tensors = [tensor for state in states for tensor in state.values()]
    return sum(tensor.nbytes for tensor in tensors) + _SMALL_FILES_BYTES


def _superseded(folders: list[Path], reach_steps: int | None) -> list[Path]:
    """All but the newest two, and with ``reach_steps`` but the newest that is so much older."""
    kept = folders[-KEEP:]
    if reach_steps is not None:
        older = [f for f in folders if step_of(f) <= max(0, step_of(folders[-1]) - reach_steps)]
        kept = [*older[-1:], *kept]
    return [folder for folder in folders if folder not in kept]


def _step_folders(folder: str | Path) -> list[Path]:
    """Oldest first; the name sorts as the step does."""
    return sorted(Path(folder).glob("step-????????*"))


def _checksums(folder: Path) -> dict[str, str]:
    digests = {}
    for path in sorted(folder.iterdir()):
        if path.name != _CHECKSUMS:
            with path.open("rb") as file:
                digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _sync_folder(folder: Path) -> None:
    """To disk before the rename: a rename may survive a power cut that the contents do not."""
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

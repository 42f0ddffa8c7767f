"""Checkpoints to resume from, and exported models to use.

In: a model, an optimizer, a few counters. Out: folders that are either whole or not there.

``out_dir/checkpoints/step-00000123/``   everything that resuming needs; the last two are kept
``out_dir/final/``                       ``model.safetensors``, ``config.json``, ``tokenizer.json``;
                                         ``adapter/`` or ``finetune.json`` after fine-tuning beside

Where a model is cut up among ranks, each writes and reads what it holds of it, in files of its own
(``model-00001-of-00004.safetensors``); any number of ranks goes on from what any other has saved.
No pickle anywhere: opening somebody's checkpoint runs no code of theirs.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from model.adapters import (
    add_adapters,
    can_merge,
    merged,
)
from model.architectures import AnyModelConfig, model_config
from model.chat import load_tokenizer
from model.decoder import Decoder
from model.job import FinetuneConfig
from model.language_model import LanguageModel, make_model
from model.optim import AnyOptimizer
from model.peft_format import has_peft_format, save_peft
from model.pieces import Cut, PieceReader, write_pieces
from model.snapshot import (
    Layout,
    Snapshot,
    restore_generators,
    restore_model,
    restore_optimizer,
    take_snapshot,
)

KEEP = 2
FINETUNE_NAME = "finetune.json"
ADAPTER_NAME = "adapter"
_CHECKSUMS = "checksums.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What ``load_checkpoint`` has put back, besides the model and the optimizer."""

    step: int
    state: dict[str, Any]
    """The trainer's counters and the loader's state, as they were given."""


def save_checkpoint(
    folder: str | Path,
    step: int,
    model: LanguageModel,
    optimizer: AnyOptimizer,
    state: dict[str, Any],
    layout: Layout | None = None,
) -> Path:
    """Write ``folder/step-…`` whole or not at all, then drop all but the newest two.

    With several ranks all must call it, and it comes back when all have written."""
    return write_snapshot(folder, take_snapshot(step, model, optimizer, state, layout or Layout()))


def write_snapshot(folder: str | Path, snapshot: Snapshot) -> Path:
    """Write ``folder/step-…`` whole or not at all, then drop all but the newest two."""
    ranks = snapshot.ranks
    final = checkpoint_path(folder, snapshot.step)
    partial = final.with_name(f".{final.name}.part")
    with ranks.saving_together():
        if ranks.rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
    with ranks.saving_together():
        _write_own(partial, snapshot)
    with ranks.saving_together():
        if ranks.rank == 0:
            _commit(partial, final, ranks.world)
    return final


def load_checkpoint(
    path: str | Path,
    model: LanguageModel,
    optimizer: AnyOptimizer,
    layout: Layout | None = None,
) -> Checkpoint:
    """Fill the model and the optimizer, set the random generators, give back the rest.

    Whatever number of ranks has saved it; with several ranks rank 0 checks it for damage."""
    path, layout = Path(path), layout or Layout()
    with layout.ranks.saving_together():
        problem = find_damage(path) if layout.ranks.rank == 0 else None
        if problem:
            good = latest_checkpoint(path.parent)
            remedy = (
                f"the newest good checkpoint is {good}"
                if good
                else "there is no good one beside it"
            )
            raise ValueError(f"checkpoint {path} is damaged ({problem}); {remedy}")
    read_weights(path, model, layout.cuts)
    tensors = PieceReader(list(path.glob("trainer*.safetensors")))
    state = json.loads((path / "trainer.json").read_text())
    restore_optimizer(model, optimizer, tensors, layout.cuts)
    restore_generators(tensors, state.pop("rng"), layout.ranks.rank)
    return Checkpoint(step=state.pop("step"), state=state)


def latest_checkpoint(folder: str | Path) -> Path | None:
    """The newest checkpoint that is whole, or None."""
    whole = (path for path in reversed(_step_folders(folder)) if find_damage(path) is None)
    return next(whole, None)


def checkpoint_path(folder: str | Path, step: int) -> Path:
    """Where the checkpoint of a step is, or will be."""
    return Path(folder) / f"step-{step:08d}"


def step_of(path: Path) -> int:
    """The step that a checkpoint's name tells."""
    return int(path.name.removeprefix("step-"))


def find_damage(path: str | Path) -> str | None:
    """What is wrong with a checkpoint folder, or None."""
    try:
        recorded = json.loads((Path(path) / _CHECKSUMS).read_text())
    except (OSError, ValueError):
        return f"{_CHECKSUMS} is missing or unreadable"
    for name, digest in recorded.items():
        if not (Path(path) / name).is_file():
            return f"{name} is missing"
        if _checksums(Path(path), [name])[name] != digest:
            return f"{name} does not match its checksum"
    return None


def export_model(folder: str | Path, model: LanguageModel, tokenizer_path: str | Path) -> Path:
    """Write a model to use elsewhere, with its tokenizer beside it. Same weights, same bytes.

    LoRA is merged into the weights, and where peft has a format for it, left in ``adapter/`` too.
    """
    final = Path(folder)
    partial = final.with_name(f".{final.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _export_weights(partial, model)
    shutil.copyfile(tokenizer_path, partial / "tokenizer.json")
    _sync_folder(partial)
    shutil.rmtree(final, ignore_errors=True)
    partial.replace(final)
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


def read_weights(folder: Path, model: LanguageModel, cuts: Mapping[str, Cut] | None = None) -> None:
    """Fill a model of the same shape, or what this rank holds of it."""
    path = folder / "model.safetensors"
    try:
        restore_model(model, PieceReader(list(folder.glob("model*.safetensors"))), cuts or {})
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} does not hold this model's weights: {error}") from error
    except Exception as error:  # safetensors has an exception of its own for damaged files
        raise ValueError(f"{path} is damaged: {error}") from error


# --- files ---------------------------------------------------------------------------------------


def _write_own(partial: Path, snapshot: Snapshot) -> None:
    """This rank's files, on the disk; other ranks than 0 leave their checksums beside them."""
    ranks = snapshot.ranks
    is_cut = any(not cut.is_whole for cut in snapshot.cuts.values())
    suffix = f"-{ranks.rank:05d}-of-{ranks.world:05d}" if is_cut or ranks.rank else ""
    tensors = {"model": snapshot.model, "trainer": snapshot.trainer}
    names = [f"{stem}{suffix}.safetensors" for stem in tensors if tensors[stem]]
    for name, own in zip(names, filter(None, tensors.values()), strict=True):
        write_pieces(partial / name, own, snapshot.cuts)
    if ranks.rank:
        _write_json(partial / _checksums_of(ranks.rank), _checksums(partial, names))
    else:
        for name, value in snapshot.texts.items():
            _write_json(partial / name, value)
    for name in names:
        _sync(partial / name)


def _commit(partial: Path, final: Path, num_ranks: int) -> None:
    """Rank 0, when all have written: one list of checksums, and the rename."""
    digests: dict[str, str] = {}
    for rank in range(1, num_ranks):
        own = partial / _checksums_of(rank)
        if not own.exists():
            raise ValueError(
                f"{partial} lacks the files of rank {rank}: out_dir must be on a file system that "
                "all machines of the run share"
            )
        digests |= json.loads(own.read_text())
        own.unlink()
    ours = [path.name for path in partial.iterdir() if path.name not in digests]
    _write_json(partial / _CHECKSUMS, digests | _checksums(partial, ours))
    _sync_folder(partial)
    shutil.rmtree(final, ignore_errors=True)  # the same step, saved by an earlier attempt
    partial.replace(final)
    _sync(final.parent)
    for old in _step_folders(final.parent)[:-KEEP]:
        shutil.rmtree(old)


def _checksums_of(rank: int) -> str:
    return f"checksums-{rank:05d}.json"


def _step_folders(folder: str | Path) -> list[Path]:
    """Oldest first; the name sorts as the step does."""
    return sorted(Path(folder).glob("step-????????*"))


def _checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    digests = {}
    for name in sorted(names):
        with (folder / name).open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
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

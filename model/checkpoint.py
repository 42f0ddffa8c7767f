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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from model.adapters import add_adapters, can_merge, merged
from model.architectures import AnyModelConfig, model_config
from model.chat import load_tokenizer
from model.decoder import Decoder
from model.disk import room_for, telling_when_full
from model.language_model import LanguageModel, make_model
from model.optim import AnyOptimizer
from model.options import FinetuneConfig
from model.peft_format import has_peft_format, save_peft
from model.pieces import Cut, PieceReader, write_pieces
from model.snapshot import (
    Layout,
    Snapshot,
    restore_generators,
    restore_kept,
    restore_model,
    restore_optimizer,
    take_snapshot,
)

KEEP = 2
FINETUNE_NAME = "finetune.json"
ADAPTER_NAME = "adapter"
_CHECKSUMS = "checksums.json"
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
    layout: Layout | None = None,
) -> Path:
    """Write ``folder/step-…`` whole or not at all, then drop all but the newest two.

    With several ranks all must call it, and it comes back when all have written.

    Args:
        tensors: more to keep, each laid out as the parameter of its name.
        reach_steps: keep the newest that is so many steps older, too, to go back to.

    Raises:
        DiskFullError: there is no room; what was there before still is.
    """
    snapshot = take_snapshot(step, model, optimizer, state, layout or Layout(), tensors)
    return write_snapshot(folder, snapshot, reach_steps)


def write_snapshot(folder: str | Path, snapshot: Snapshot, reach_steps: int | None = None) -> Path:
    """As ``save_checkpoint``, of what has been taken."""
    ranks = snapshot.ranks
    final = checkpoint_path(folder, snapshot.step)
    partial = _partial(final)
    num_bytes = _num_bytes(snapshot.model, snapshot.trainer)
    try:
        with ranks.saving_together(), room_for("a checkpoint", final, num_bytes):
            if ranks.rank == 0:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
        with ranks.saving_together(), telling_when_full("a checkpoint", final, num_bytes):
            _write_own(partial, snapshot)
        with ranks.saving_together(), telling_when_full("a checkpoint", final, num_bytes):
            if ranks.rank == 0:
                _commit(partial, final, ranks.world)
    except BaseException:
        if ranks.rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    with ranks.saving_together():
        for old in _superseded(_step_folders(folder), reach_steps) if ranks.rank == 0 else []:
            shutil.rmtree(old)
    return final


def load_checkpoint(
    path: str | Path,
    model: LanguageModel,
    optimizer: AnyOptimizer,
    layout: Layout | None = None,
) -> Checkpoint:
    """Fill the model and the optimizer, set the random generators, give back the rest.

    Whatever number of ranks has saved it. That it is whole (``check_whole``, ``newest_whole``) and
    of this job the caller has seen to: it may be large, and is read here for the first time."""
    path, layout = Path(path), layout or Layout()
    read_weights(path, model, layout.cuts)
    tensors = PieceReader(list(path.glob("trainer*.safetensors")))
    state = read_state(path)
    restore_optimizer(model, optimizer, tensors, layout.cuts)
    restore_generators(tensors, state.pop("rng"), layout.ranks.rank)
    kept = restore_kept(tensors, layout.cuts)
    return Checkpoint(step=state.pop("step"), state=state, tensors=kept)


def latest_checkpoint(folder: str | Path, until_step: int | None = None) -> Path | None:
    """The newest checkpoint that is whole, and not of a later step than ``until_step``; or None."""
    for path in reversed(_step_folders(folder)):
        is_wanted = until_step is None or step_of(path) <= until_step
        if is_wanted and find_damage(path) is None:
            return path
    return None


def newest_whole(folder: str | Path) -> tuple[Path | None, dict[Path, str]]:
    """The checkpoint that a resuming run goes on from, None where there are none; and those newer
    ones that it passes over, with what is wrong with each.

    Raises:
        ValueError: there are checkpoints, and none is whole.
    """
    damages: dict[Path, str] = {}
    for path in reversed(_step_folders(folder)):
        damage = find_damage(path)
        if damage is None:
            return path, damages
        damages[path] = damage
    if damages:
        told = "; ".join(f"{path.name}: {damage}" for path, damage in damages.items())
        raise ValueError(
            f"no checkpoint in {folder} is whole ({told}): put a whole one there, or delete that "
            "folder to start from the beginning"
        )
    return None, damages


def check_whole(path: Path) -> None:
    """A checkpoint is there, and undamaged; if not, a ValueError names a good one beside it."""
    if not path.is_dir():
        raise ValueError(f"there is no checkpoint {path}")
    if problem := find_damage(path):
        good = latest_checkpoint(path.parent)
        remedy = f"the newest good checkpoint is {good}" if good else "no good one is beside it"
        raise ValueError(f"checkpoint {path} is damaged ({problem}); {remedy}")


def read_state(path: Path) -> dict[str, Any]:
    """A checkpoint's counters and settings, without its tensors."""
    state: dict[str, Any] = json.loads((path / "trainer.json").read_text())
    return state


def forget_checkpoints(folder: str | Path, after_step: int) -> None:
    """Delete the checkpoints of later steps: they are of a course that the run has left."""
    for path in _step_folders(folder):
        if step_of(path) > after_step:
            shutil.rmtree(path)


def step_of(path: Path) -> int:
    """The step of a checkpoint, by its name."""
    return int(path.name.split("-")[1])


def checkpoint_path(folder: str | Path, step: int) -> Path:
    """Where the checkpoint of a step is, or will be."""
    return Path(folder) / f"step-{step:08d}"


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
    _put_in_place(partial, final)


def _checksums_of(rank: int) -> str:
    return f"checksums-{rank:05d}.json"


@contextmanager
def _made_whole(final: Path, what: str, num_bytes: int) -> Iterator[Path]:
    """A folder to write into, which becomes ``final`` at the end of the block, or is gone."""
    partial = _partial(final)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with room_for(what, final, num_bytes):
            partial.mkdir(parents=True)
            yield partial
            _sync_folder(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _put_in_place(partial, final)


def _partial(final: Path) -> Path:
    return final.with_name(f".{final.name}.part")


def _put_in_place(partial: Path, final: Path) -> None:
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

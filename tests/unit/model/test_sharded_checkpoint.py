"""What some ranks have saved any others go on from; what not all have written is no checkpoint."""

import json
import os
from pathlib import Path

import pytest
import torch

from model import checkpoint
from model.checkpoint import find_damage, latest_checkpoint
from model.job import TrainJob
from model.options import FinetuneConfig, OptimConfig, ParallelConfig
from model.pieces import Cut, PieceReader, write_pieces
from model.trainer import Trainer, train
from tests.ranks import run_ranks

MUON = OptimConfig(lr=3e-3, warmup_steps=2, kind="muon")
ONE, DDP = ParallelConfig(), ParallelConfig()
FSDP, MESH = ParallelConfig(data="fsdp"), ParallelConfig(data="fsdp", tensor=2)


class StopAfter:
    """Asks to stop when it has been asked so many times."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def begin(job: TrainJob) -> None:
    train(job, StopAfter(3))


def save_again(job: TrainJob, folder: str) -> None:
    """Go on from the job's checkpoint, save at once elsewhere; tell what has been read for it, and
    which rows come next."""
    read = []
    part_of = PieceReader._part

    def counting(reader, stored, region):
        part = part_of(reader, stored, region)
        read.append(part.numel())
        return part

    PieceReader._part = counting
    trainer = Trainer(job)
    numbers_read = sum(read)
    assert trainer.step == 3
    trainer.saver.folder = Path(folder)
    trainer.save()
    trainer.saver.wait()
    batch = trainer.loader.next_batch()
    own = trainer.ranks.share(batch, 1)
    told = {"read": numbers_read, "batch": batch.inputs_BT.tolist(), "own": own.inputs_BT.tolist()}
    Path(folder, f"told-{trainer.ranks.rank}.json").write_text(json.dumps(told))
    trainer.close()


def run(num_ranks: int, work, *told, folder: Path) -> None:
    if num_ranks == 1:
        work(*told)
    else:
        run_ranks(num_ranks, work, *told, folder=folder)


def contents(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint, whole."""
    assert find_damage(path) is None
    found = {}
    for stem in ("model", "trainer"):
        reader = PieceReader(list(path.glob(f"{stem}*.safetensors")))
        found |= {name: reader.read(name) for name in reader.shapes}
    return found


@pytest.mark.parametrize(
    ("saved_on", "loaded_on"),
    [
        ((2, FSDP), (1, ONE)),
        ((2, FSDP), (4, MESH)),
        ((4, MESH), (2, DDP)),
        ((1, ONE), (2, FSDP)),
    ],
    ids=["fsdp-one", "fsdp-mesh", "mesh-ddp", "one-fsdp"],
)
def test_any_ranks_go_on_from_what_others_have_saved(
    make_job, tmp_path, replace, saved_on, loaded_on
):
    (num_savers, saver), (num_loaders, loader) = saved_on, loaded_on
    job = make_job("pretrain", optim=MUON, parallel=saver)
    run(num_savers, begin, job, folder=tmp_path)
    (tmp_path / "again").mkdir()
    other = replace(job, parallel=loader)
    run(num_loaders, save_again, other, str(tmp_path / "again"), folder=tmp_path)
    first, second = (
        contents(latest_checkpoint(folder))
        for folder in (Path(job.out_dir) / "checkpoints", tmp_path / "again")
    )
    kept = {name for name in first if not name.startswith("rng.")}
    assert kept == {name for name in second if not name.startswith("rng.")}
    assert any("momentum_buffer" in name for name in kept)
    assert any("exp_avg_sq" in name for name in kept)
    for name in kept:
        assert torch.equal(first[name], second[name]), name
    told = [json.loads(path.read_text()) for path in sorted((tmp_path / "again").glob("told-*"))]
    expected = expected_batch(make_job, tmp_path, saver=ONE)
    assert all(each["batch"] == expected for each in told)
    num_parts = num_loaders // loader.tensor
    own = [each["own"] for each in told][:: loader.tensor]
    assert [row for rows in own for row in rows] == expected
    assert len(own) == num_parts
    whole = sum(first[name].numel() for name in kept)
    if loader.data == "fsdp":
        # Norms and embeddings are whole in a tensor group: at least the shards are not.
        assert all(each["read"] < 0.6 * whole for each in told)


def expected_batch(make_job, tmp_path, saver) -> list[list[int]]:
    """The fourth batch of an undisturbed run on one rank."""
    trainer = Trainer(make_job("pretrain", out_dir=str(tmp_path / "calm"), parallel=saver))
    for _ in range(3):
        trainer.loader.next_batch()
    batch: list[list[int]] = trainer.loader.next_batch().inputs_BT.tolist()
    trainer.close()
    return batch


def test_each_rank_writes_its_share_and_remembers_its_draws(make_job, tmp_path):
    job = make_job("pretrain", parallel=FSDP)
    run_ranks(2, begin, job, folder=tmp_path)
    path = latest_checkpoint(Path(job.out_dir) / "checkpoints")
    sizes = [p.stat().st_size for p in sorted(path.glob("model-*-of-00002.safetensors"))]
    assert len(sizes) == 2
    assert max(sizes) < 1.2 * min(sizes)
    found = contents(path)
    assert not torch.equal(found["rng.torch"], found["rng.torch.1"])
    assert not list(path.glob("checksums-*"))


def die_in_the_second_save(job: TrainJob) -> None:
    """Rank 1 is gone when its file is half written."""
    write, calls = checkpoint.write_pieces, []

    def dying(path, tensors, cuts):
        calls.append(path)
        if os.environ["RANK"] == "1" and len(calls) == 3:  # model, trainer, and the next model
            path.write_bytes(b"half")
            os._exit(9)
        write(path, tensors, cuts)

    checkpoint.write_pieces = dying
    train(job)


def test_a_rank_that_dies_in_a_save_leaves_the_last_checkpoint(make_job, tmp_path):
    drops = FinetuneConfig(dropout=0.3)  # each rank's own draws must come back
    settings = {"parallel": FSDP, "checkpoint_every_steps": 3, "steps": 7, "finetune": drops}
    calm = make_job("sft", out_dir=str(tmp_path / "calm"), **settings)
    job = make_job("sft", **settings)
    codes = run_ranks(2, die_in_the_second_save, job, folder=tmp_path, may_fail=True)
    assert codes[1] == 9
    assert codes[0] not in (0, None)
    folder = Path(job.out_dir) / "checkpoints"
    assert [path.name for path in folder.glob("step-*")] == ["step-00000003"]
    assert latest_checkpoint(folder).name == "step-00000003"
    for each in (job, calm):
        run_ranks(2, train, each, folder=tmp_path, may_fail=True)
    bits = [Path(each.out_dir, "final", "model.safetensors").read_bytes() for each in (job, calm)]
    assert bits[0] == bits[1]
    assert not list(folder.glob(".*.part"))


def test_pieces_of_a_tensor_are_found_wherever_they_are(tmp_path):
    whole = torch.arange(60.0).view(10, 6)
    upper = Cut((10, 6), (((0, 2), (5, 7)), ((0, 6),)))
    lower = Cut((10, 6), (((2, 5), (7, 10)), ((0, 6),)))
    for name, cut in (("a", upper), ("b", lower)):
        part = torch.cat([whole[start:stop] for start, stop in cut.spans[0]])
        write_pieces(tmp_path / f"{name}.safetensors", {"w": part}, {"w": cut})
    reader = PieceReader([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])
    assert torch.equal(reader.read("w"), whole)
    columns = Cut((10, 6), (((1, 9),), ((2, 3), (4, 6))))
    assert torch.equal(reader.read("w", columns), whole[1:9][:, [2, 4, 5]])
    assert torch.equal(reader.read("w", upper.rows(1, 3)), whole[[1, 5]])
    assert upper.rows(4, 4).local_shape == (0, 6)
    with pytest.raises(ValueError, match="18 numbers of w are missing"):
        PieceReader([tmp_path / "a.safetensors"]).read("w", Cut((10, 6), (((2, 7),), ((0, 6),))))

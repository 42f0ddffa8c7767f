"""A checkpoint is whole or refused; an export is the same bytes for the same weights."""

import random

import numpy as np
import pytest
import torch

from model.checkpoint import (
    check_whole,
    export_model,
    find_damage,
    forget_checkpoints,
    latest_checkpoint,
    load_checkpoint,
    load_model,
    newest_whole,
    save_checkpoint,
    step_of,
)
from model.decoder import Decoder
from model.optim import make_optimizer
from model.options import OptimConfig


@pytest.fixture
def trained(tiny):
    return make_trained(tiny, seed=0)


def make_trained(config, seed):
    """A model and an optimizer that has moments."""
    torch.manual_seed(seed)
    model = Decoder(config)
    optimizer = make_optimizer(model, OptimConfig())
    for _ in range(2):
        model(torch.randint(config.vocab_size, (1, 8))).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def test_everything_comes_back(tmp_path, tiny, trained):
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    np.random.randn(1)  # leaves half a pair behind in the generator
    path = save_checkpoint(tmp_path, 12, *trained, {"loader": {"web": 3}})
    drawn = (random.random(), np.random.randn(), torch.rand(3))
    other = make_trained(tiny, seed=5)
    checkpoint = load_checkpoint(path, *other)
    assert (checkpoint.step, checkpoint.state) == (12, {"loader": {"web": 3}})
    for mine, back in zip(trained[0].parameters(), other[0].parameters(), strict=True):
        assert torch.equal(mine, back)
    mine, back = (optimizer.state_dict()["state"] for _, optimizer in (trained, other))
    for index, entry in mine.items():
        for name, tensor in entry.items():
            assert torch.equal(tensor, back[index][name]), name
    assert (random.random(), np.random.randn()) == drawn[:2]
    assert torch.equal(torch.rand(3), drawn[2])


def test_the_last_two_are_kept(tmp_path, trained):
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, step, *trained, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010", "step-00000015"]
    assert latest_checkpoint(tmp_path).name == "step-00000015"


@pytest.mark.parametrize("file", ["model.safetensors", "trainer.safetensors", "trainer.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_refused_and_the_good_one_named(tmp_path, trained, file, damage):
    save_checkpoint(tmp_path, 5, *trained, {})
    path = save_checkpoint(tmp_path, 10, *trained, {})
    content = bytearray((path / file).read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        (path / file).write_bytes(content)
    elif damage == "truncate":
        (path / file).write_bytes(content[:-1])
    else:
        (path / file).unlink()
    assert latest_checkpoint(tmp_path).name == "step-00000005"
    with pytest.raises(ValueError, match=rf"{file} .*newest good checkpoint is .*step-00000005"):
        check_whole(path)


def test_a_folder_without_checksums_is_no_checkpoint(tmp_path, trained):
    path = save_checkpoint(tmp_path, 5, *trained, {})
    (path / "checksums.json").unlink()
    assert latest_checkpoint(tmp_path) is None
    with pytest.raises(ValueError, match="no good one"):
        check_whole(path)
    with pytest.raises(ValueError, match="there is no checkpoint"):
        check_whole(tmp_path / "nowhere")
    assert latest_checkpoint(tmp_path / "nowhere") is None


def test_a_save_that_dies_half_way_leaves_the_old_one(tmp_path, trained, monkeypatch):
    save_checkpoint(tmp_path, 5, *trained, {})
    with monkeypatch.context() as patch:
        patch.setattr("model.checkpoint._checksums", lambda folder, names: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save_checkpoint(tmp_path, 10, *trained, {})
    assert latest_checkpoint(tmp_path).name == "step-00000005"
    assert save_checkpoint(tmp_path, 10, *trained, {}) == latest_checkpoint(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_an_export_has_the_same_bytes_each_time_and_loads(tmp_path, trained, tokenizer_path):
    model, _ = trained
    folders = [export_model(tmp_path / name, model, tokenizer_path) for name in ("a", "b", "a")]
    for file in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes()
    loaded, tokenizer = load_model(folders[0])
    x_BT = torch.arange(12)[None]
    assert torch.equal(loaded(x_BT), model(x_BT))
    assert tokenizer.encode_special_tokens


def test_what_is_no_model_is_refused(tmp_path, trained, tokenizer_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        load_model(tmp_path)
    folder = export_model(tmp_path / "model", trained[0], tokenizer_path)
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load_model(folder)


@pytest.mark.parametrize("seed", range(5))
def test_no_damage_to_any_file_goes_unseen(tmp_path, trained, seed):
    """A bit flipped or an end cut off anywhere, the list of checksums itself included."""
    save_checkpoint(tmp_path, 5, *trained, {})
    path = save_checkpoint(tmp_path, 10, *trained, {})
    assert find_damage(path) is None
    rng = random.Random(seed)
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        for broken in (bytes(flipped), whole[: rng.randrange(len(whole) - 1)], b""):
            file.write_bytes(broken)
            assert find_damage(path), file.name
            with pytest.raises(ValueError, match=r"newest good checkpoint is .*step-00000005"):
                check_whole(path)
        file.write_bytes(whole)
    assert find_damage(path) is None


def test_one_to_go_back_to_is_kept(tmp_path, trained):
    """So many steps older than the newest, whenever and however often was saved."""
    saved = [0, 3, 4, 5, 9, 10, 17, 18, 19, 20, 21, 40]
    for number, step in enumerate(saved):
        save_checkpoint(tmp_path, step, *trained, {}, reach_steps=8)
        kept = [step_of(p) for p in sorted(tmp_path.iterdir())]
        assert kept[-2:] == saved[: number + 1][-2:]
        assert kept[0] <= max(0, step - 8)
        assert len(kept) <= 3
    assert latest_checkpoint(tmp_path, until_step=39).name == "step-00000021"
    forget_checkpoints(tmp_path, after_step=21)
    assert [step_of(p) for p in sorted(tmp_path.iterdir())] == [21]


def test_when_none_is_whole_that_is_said_and_nothing_begun_anew(tmp_path, trained):
    assert newest_whole(tmp_path) == (None, {})
    for step in (5, 10):
        (save_checkpoint(tmp_path, step, *trained, {}) / "trainer.json").unlink()
    with pytest.raises(ValueError, match=r"no checkpoint .* is whole .*step-00000005.*delete"):
        newest_whole(tmp_path)
    save_checkpoint(tmp_path, 7, *trained, {})
    found, damages = newest_whole(tmp_path)
    assert (found.name, [path.name for path in damages]) == ("step-00000007", ["step-00000010"])

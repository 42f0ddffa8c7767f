"""Laws of the modern preset: what it adds leaks nothing, generation says what the model does."""

import dataclasses

import pytest
import torch

from model.architectures import PRESETS, model_preset
from model.decoder import Decoder
from model.generate import generate
from model.huggingface import to_huggingface
from model.optim import make_optimizer
from model.options import OptimConfig, optim_preset
from model.trainer import train

MODERN = [name for name in PRESETS if name.startswith("modern-")]


@pytest.fixture
def model(tiny):
    """Every switch of the preset at a tiny size."""
    preset = PRESETS["modern-demo"]
    switches = {key: value for key, value in preset.items() if isinstance(value, bool | str)}
    torch.manual_seed(0)
    config = dataclasses.replace(tiny, **switches)
    model = Decoder(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # nothing at nought, and no near-ties
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def some_tokens(model, batch=2, length=20):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(model.config.vocab_size, (batch, length), generator=generator)


@torch.no_grad()
def test_the_future_cannot_leak(model):
    x_BT = some_tokens(model)
    changed_BT = x_BT.clone()
    changed_BT[:, 10] = (changed_BT[:, 10] + 1) % model.config.vocab_size
    was, now = model(x_BT), model(changed_BT)
    torch.testing.assert_close(was[:, :10], now[:, :10], rtol=0, atol=0)
    assert not torch.equal(was[:, 10], now[:, 10])


@torch.no_grad()
def test_documents_packed_into_a_row_are_read_as_if_alone(model):
    x_BT = some_tokens(model)
    sizes = [5, 1, 10, 4]
    numbers = torch.repeat_interleave(torch.tensor(sizes))[None].expand_as(x_BT)
    packed = model.head(model.hidden(x_BT, documents_BT=numbers))
    alone = [model(document) for document in x_BT.split(sizes, dim=1)]
    torch.testing.assert_close(packed, torch.cat(alone, dim=1), rtol=0, atol=1e-4)


@torch.no_grad()
def test_cached_logits_are_the_uncached_ones_in_chunks_of_any_size(model):
    x_BT = some_tokens(model)
    cache = model.make_cache(slots=20, padding_B=torch.zeros(2, dtype=torch.long))
    pieces = [model(chunk, cache) for chunk in x_BT.split([7, 1, 1, 8, 3], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(x_BT), rtol=0, atol=1e-4)


def test_a_ragged_batch_says_what_each_would_alone(model):
    prompts = [[5, 6, 7, 8, 9], [11], [3, 4, 3], [250] * 12]
    alone = [_greedy_without_a_cache(model, prompt, 12) for prompt in prompts]
    assert generate(model, prompts, 12) == alone


@torch.no_grad()
def _greedy_without_a_cache(model, prompt, max_new_tokens):
    ids = list(prompt)
    for _ in range(max_new_tokens):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


def test_what_transformers_lacks_is_named_on_the_way_out(model):
    with pytest.raises(ValueError, match=r"with input_residual: .*stays"):
        to_huggingface(model)


@pytest.mark.parametrize("name", MODERN)
def test_a_preset_comes_with_an_optimizer_for_all_its_parameters(name):
    with torch.device("meta"):
        model = Decoder(model_preset(name, vocab_size=4096, max_seq_len=64))
    optimizer = make_optimizer(model, optim_preset(name))
    owned = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(map(id, model.parameters()))


def test_other_presets_keep_the_optimizer_they_had():
    assert optim_preset("llama-demo") == OptimConfig()


def test_half_and_half_a_run_is_a_run(make_job, model, tmp_path):
    optim = dataclasses.replace(optim_preset("modern-demo"), warmup_steps=1)
    jobs = [
        make_job("pretrain", model=model.config, optim=optim, steps=4, out_dir=str(tmp_path / name))
        for name in ("whole", "halves")
    ]
    train(jobs[0])
    asked = iter([False, True])
    assert train(jobs[1], lambda: next(asked)) == "stopped"
    train(jobs[1])
    whole, halves = ((tmp_path / n / "final" / "model.safetensors") for n in ("whole", "halves"))
    assert whole.read_bytes() == halves.read_bytes()

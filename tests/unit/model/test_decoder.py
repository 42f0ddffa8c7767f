"""Laws of the model itself; that it is transformers' model too is test_huggingface's."""

import dataclasses
import math

import pytest
import torch

from model.architectures import PRESETS, ModelConfig, model_preset
from model.decoder import Decoder
from model.losses import next_token_loss

GPT2 = {"norm": "layernorm", "position": "learned", "mlp": "gelu", "bias": True, "n_kv_heads": 4}


def perturbed(config: ModelConfig) -> Decoder:
    """Norm gains and biases away from one and nought: else a swap of two would go unseen."""
    torch.manual_seed(0)
    model = Decoder(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def tokens(config: ModelConfig, batch: int = 2, length: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(config.vocab_size, (batch, length), generator=generator)


@pytest.mark.parametrize("changes", [{}, GPT2, {"sliding_window": 4}, {"qk_norm": True}])
@torch.no_grad()
def test_the_future_cannot_leak(tiny, changes):
    model = perturbed(dataclasses.replace(tiny, **changes))
    x_BT = tokens(model.config)
    changed_BT = x_BT.clone()
    changed_BT[:, 10:] = (changed_BT[:, 10:] + 1) % model.config.vocab_size
    before, after = model(x_BT), model(changed_BT)
    torch.testing.assert_close(before[:, :10], after[:, :10], rtol=0, atol=0)
    assert not torch.equal(before[:, 10:], after[:, 10:])


@pytest.mark.parametrize("preset", ["llama-demo", "gpt2-demo", "modern-demo"])
@torch.no_grad()
def test_an_untrained_model_is_as_good_as_guessing(preset):
    torch.manual_seed(0)
    config = model_preset(preset, vocab_size=4096, max_seq_len=64)
    x_BT = tokens(config, batch=4, length=65)
    total, count = next_token_loss(Decoder(config)(x_BT[:, :-1]), x_BT[:, 1:])
    assert float(total / count) == pytest.approx(math.log(4096), abs=0.1)


def test_one_batch_can_be_learned_by_heart(tiny):
    torch.manual_seed(0)
    model = Decoder(tiny)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0, fused=True)
    x_BT = tokens(tiny, batch=2, length=17)
    for _ in range(120):
        total, count = next_token_loss(model(x_BT[:, :-1]), x_BT[:, 1:])
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    assert (total / count).item() < 0.01


@pytest.mark.parametrize(
    ("preset", "vocab_size", "millions"),
    [
        ("llama-demo", 4096, 2.9),
        ("bytes-demo", 263, 2.9),
        ("llama-small", 16_384, 32.1),
        ("llama-base", 50_304, 121),
        ("gpt2-base", 50_257, 124.4),
        ("modern-demo", 4096, 3.15),
        ("modern-small", 16_384, 39.9),
        ("modern-base", 50_304, 152.8),
    ],
)
def test_presets_have_the_size_they_promise(preset, vocab_size, millions):
    with torch.device("meta"):
        model = Decoder(model_preset(preset, vocab_size, max_seq_len=1024))
    assert model.num_parameters() / 1e6 == pytest.approx(millions, rel=0.01)


def test_every_preset_is_a_valid_configuration():
    for name in PRESETS:
        assert model_preset(name, vocab_size=1000, max_seq_len=128).vocab_size == 1000


def test_a_text_longer_than_the_model_is_refused(tiny):
    with pytest.raises(ValueError, match="max_seq_len = 64"):
        Decoder(tiny)(torch.zeros(1, 65, dtype=torch.long))


@torch.no_grad()
def test_a_window_hides_what_is_further_back(tiny):
    model = perturbed(dataclasses.replace(tiny, n_layers=1, sliding_window=6))
    x_BT = tokens(model.config)
    changed_BT = x_BT.clone()
    changed_BT[:, :10] = (changed_BT[:, :10] + 1) % model.config.vocab_size
    before, after = model(x_BT), model(changed_BT)
    torch.testing.assert_close(before[:, 15:], after[:, 15:], rtol=0, atol=0)
    assert not torch.equal(before[:, 14], after[:, 14])  # its window still holds position 9


@pytest.mark.parametrize(
    "changes",
    [{}, GPT2, {"sliding_window": 4, "full_attention_layers": (0,)}, {"value_embeddings": True}],
)
@torch.no_grad()
def test_documents_packed_into_a_row_are_read_as_if_alone(tiny, changes):
    model = perturbed(dataclasses.replace(tiny, **changes))
    check_packing(model)


def check_packing(model):
    x_BT = tokens(model.config)
    lengths = [[5, 1, 10, 8], [24]]
    numbers = [[n for n, size in enumerate(row, start=3) for _ in range(size)] for row in lengths]
    packed = model.head(model.hidden(x_BT, documents_BT=torch.tensor(numbers)))
    for row, sizes in enumerate(lengths):
        alone = [model(document[None])[0] for document in x_BT[row].split(sizes)]
        torch.testing.assert_close(packed[row], torch.cat(alone), rtol=0, atol=1e-5)

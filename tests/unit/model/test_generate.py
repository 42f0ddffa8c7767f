"""Generation: cached equals uncached, together equals alone, sampling keeps its promises."""

import dataclasses

import pytest
import torch

from model import generate as cli
from model.architectures import LstmConfig
from model.generate import generate, sample, stream
from model.language_model import make_model

GPT2 = {"norm": "layernorm", "position": "learned", "mlp": "gelu", "bias": True, "n_kv_heads": 4}
PROMPTS = [[5, 6, 7, 8, 9], [11], [3, 4, 3], [250] * 12]


KINDS = {
    "llama": {},
    "gpt2": GPT2,
    "window": {"sliding_window": 5, "full_attention_layers": (1,)},
    "qk-norm": {"qk_norm": True, "qkv_bias": True, "head_dim": 10},
    "lstm": None,
}


@pytest.fixture(params=KINDS)
def model(request, tiny):
    torch.manual_seed(0)
    changes = KINDS[request.param]
    if changes is None:
        config = LstmConfig(vocab_size=tiny.vocab_size, width=32, n_layers=2, max_seq_len=64)
    else:
        config = dataclasses.replace(tiny, **changes)
    model = make_model(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)  # clear winners, no near-ties
    return model


@torch.no_grad()
def one_by_one_without_a_cache(model, prompt, max_new_tokens):
    ids = list(prompt)
    for _ in range(max_new_tokens):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


def test_a_ragged_cached_batch_says_what_each_would_alone(model):
    expected = [one_by_one_without_a_cache(model, prompt, 20) for prompt in PROMPTS]
    assert generate(model, PROMPTS, 20) == expected
    assert [generate(model, [prompt], 20)[0] for prompt in PROMPTS] == expected


@torch.no_grad()
def test_cached_logits_are_the_uncached_ones_in_chunks_of_any_size(model):
    x_BT = torch.randint(320, (2, 20), generator=torch.Generator().manual_seed(1))
    cache = model.make_cache(slots=20, padding_B=torch.zeros(2, dtype=torch.long))
    pieces = [model(chunk, cache) for chunk in x_BT.split([7, 1, 1, 8, 3], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(x_BT), rtol=0, atol=1e-5)


def test_a_stop_token_ends_its_row_only(model):
    free = generate(model, PROMPTS, 20)
    stop = free[1][6]
    stopped = generate(model, PROMPTS, 20, stop_ids=[stop])
    for row, full in zip(stopped, free, strict=True):
        assert row == (full[: full.index(stop)] if stop in full else full)


def test_the_context_end_ends_a_row(model):
    full = model.config.max_seq_len
    outputs = generate(model, [[1] * (full - 3), [1] * full, [1]], 10)
    assert [len(row) for row in outputs] == [3, 0, 10]
    with pytest.raises(ValueError, match="shorten it"):
        generate(model, [[1] * (full + 1)], 1)
    with pytest.raises(ValueError, match="at least one token"):
        generate(model, [[]], 1)


def test_streaming_gives_the_same_tokens(model):
    rows = [[] for _ in PROMPTS]
    for row, token_id in stream(model, PROMPTS, 8):
        rows[row].append(token_id)
    assert rows == generate(model, PROMPTS, 8)
    assert generate(model, PROMPTS, 0) == [[]] * 4
    assert generate(model, [], 5) == []


def test_a_seed_repeats_a_sample(model):
    runs = [generate(model, PROMPTS, 10, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def draw(logits, temperature=1.0, top_k=None, top_p=None, times=4000):
    generator = torch.Generator().manual_seed(0)
    logits_BV = torch.tensor(logits).log().repeat(times, 1)
    ids = sample(logits_BV, temperature, top_k, top_p, generator)
    return torch.bincount(ids, minlength=len(logits)) / times


def test_samples_follow_the_distribution_that_is_left():
    p = [0.1, 0.5, 0.15, 0.25]
    torch.testing.assert_close(draw(p), torch.tensor(p), atol=0.03, rtol=0)
    third = torch.tensor([0.0, 2 / 3, 0.0, 1 / 3])
    torch.testing.assert_close(draw(p, top_k=2), third, atol=0.03, rtol=0)
    torch.testing.assert_close(draw(p, top_p=0.7), third, atol=0.03, rtol=0)
    assert draw(p, top_p=0.01)[1] == 1
    squares = torch.tensor(p).square()
    torch.testing.assert_close(draw(p, 0.5), squares / squares.sum(), atol=0.03, rtol=0)


@pytest.mark.parametrize("bad", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}])
def test_impossible_sampling_is_refused(model, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        generate(model, [[1]], 1, **({"temperature": 1.0} | bad))


def test_the_command_line_answers(base_model, capsys):
    assert cli.main([str(base_model), "--prompt", "iron", "--max-new-tokens", "5"]) == 0
    first = capsys.readouterr().out
    assert cli.main([str(base_model), "--prompt", "iron", "--max-new-tokens", "5"]) == 0
    assert capsys.readouterr().out == first
    assert cli.main([str(base_model), "--prompt", "iron", "--chat", "--temperature", "1"]) == 0


def test_the_command_line_says_in_one_line_what_is_wrong(tmp_path, capsys):
    assert cli.main([str(tmp_path), "--prompt", "iron"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1

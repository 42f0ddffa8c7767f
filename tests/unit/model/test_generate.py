"""Generation: cached equals uncached, together equals alone, sampling keeps its promises."""

import dataclasses
import random

import pytest
import torch
import transformers
from scipy import stats

from model import chat, static_cache
from model import generate as cli
from model.architectures import LstmConfig
from model.generate import generate, generate_text, stream
from model.language_model import make_model
from model.sampling import Sampling, choose, distribution, draw
from model.text_stream import TextStream

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
    for new in stream(model, PROMPTS, 8):
        rows[new.row].append(new.token_id)
    assert rows == generate(model, PROMPTS, 8)
    assert generate(model, PROMPTS, 0) == [[]] * 4
    assert generate(model, [], 5) == []


def test_a_seed_repeats_a_sample(model):
    runs = [
        generate(model, PROMPTS, 10, Sampling(temperature=1.0, seed=seed)) for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_a_sample_does_not_depend_on_its_companions(model):
    sampling = Sampling(temperature=1.0, top_p=0.95, seed=3)
    together = generate(model, PROMPTS, 12, sampling)
    apart = [generate(model, [p], 12, sampling, first_row=row) for row, p in enumerate(PROMPTS)]
    assert [rows for (rows,) in apart] == together
    same_prompt = generate(model, [PROMPTS[0]] * 3, 12, sampling)
    assert len({tuple(row) for row in same_prompt}) > 1


@torch.no_grad()
def test_logprobs_are_the_models_own_whatever_is_cut(model):
    sampling = Sampling(temperature=0.5, top_k=3, min_p=0.1, seed=1)
    made = list(stream(model, PROMPTS, 6, sampling))
    for row, prompt in enumerate(PROMPTS):
        ids = [new.token_id for new in made if new.row == row]
        x_BT = torch.tensor([[*prompt, *ids]])
        logprobs_TV = model(x_BT)[0].log_softmax(dim=-1)[len(prompt) - 1 : -1]
        expected = logprobs_TV.gather(1, torch.tensor(ids)[:, None])[:, 0]
        found = torch.tensor([new.logprob for new in made if new.row == row])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def drawn(probabilities, times=4000, **sampling):
    settings = Sampling(**({"temperature": 1.0} | sampling))
    logits_BV = torch.tensor(probabilities).log().repeat(times, 1)
    draws_B = [draw(0, row, 0) for row in range(times)]
    ids = choose(logits_BV, settings, draws_B)
    return torch.bincount(ids, minlength=len(probabilities)) / times


def test_samples_follow_the_distribution_that_is_left():
    p = [0.1, 0.5, 0.15, 0.25]
    torch.testing.assert_close(drawn(p), torch.tensor(p), atol=0.03, rtol=0)
    third = torch.tensor([0.0, 2 / 3, 0.0, 1 / 3])
    torch.testing.assert_close(drawn(p, top_k=2), third, atol=0.03, rtol=0)
    torch.testing.assert_close(drawn(p, top_p=0.7), third, atol=0.03, rtol=0)
    torch.testing.assert_close(drawn(p, min_p=0.4), third, atol=0.03, rtol=0)
    assert drawn(p, top_p=0.01)[1] == 1
    assert drawn(p, min_p=1.0)[1] == 1
    squares = torch.tensor(p).square()
    expected = squares / squares.sum()
    torch.testing.assert_close(drawn(p, temperature=0.5), expected, atol=0.03, rtol=0)


def test_a_draw_at_either_end_takes_a_token_that_may_be_taken():
    logits_BV = torch.tensor([[0.0, 0.3, 0.7, 0.0]]).log().repeat(2, 1)
    highest = (2**40 - 1) / 2**40
    assert choose(logits_BV, Sampling(temperature=1.0), [0.0, highest]).tolist() == [1, 2]


def test_draws_are_uniform_and_of_their_place_alone():
    draws = [draw(7, row, step) for row in range(40) for step in range(100)]
    assert stats.kstest(draws, "uniform").pvalue > 0.01
    assert len(set(draws)) == len(draws)
    assert draw(7, 1, 2) == draws[102] != draw(8, 1, 2)


CUTS = {
    "top-k": {"top_k": 5},
    "top-p": {"top_p": 0.8},
    "min-p": {"min_p": 0.05},
    "all": {"temperature": 1.7, "top_k": 40, "top_p": 0.9, "min_p": 0.02},
}


@pytest.mark.parametrize("name", CUTS)
def test_what_is_left_is_what_transformers_leaves(name):
    cuts = {"temperature": 1.0} | CUTS[name]
    logits_BV = 3 * torch.randn(20, 200, generator=torch.Generator().manual_seed(0))
    scores = logits_BV
    for key, warper in WARPERS.items():
        if key in cuts:
            scores = warper(cuts[key])(None, scores)
    expected = scores.softmax(dim=-1)
    found = distribution(logits_BV, Sampling(**cuts))
    assert torch.equal(found > 0, expected > 0)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


WARPERS = {
    "temperature": transformers.TemperatureLogitsWarper,
    "top_k": transformers.TopKLogitsWarper,
    "top_p": transformers.TopPLogitsWarper,
    "min_p": transformers.MinPLogitsWarper,
}
BAD = [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"min_p": 1.5}]


@pytest.mark.parametrize("bad", BAD)
def test_impossible_sampling_is_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Sampling(**({"temperature": 1.0} | bad))


# --- the static path -----------------------------------------------------------------------------


@pytest.fixture
def compile_nothing(monkeypatch):
    """The path of fixed shapes, run as it is."""
    monkeypatch.setattr(torch, "compile", lambda step, **_: step)
    static_cache.compiled.cache_clear()
    yield
    static_cache.compiled.cache_clear()


@pytest.mark.usefixtures("compile_nothing")
def test_fixed_slots_give_the_same_tokens(model):
    if isinstance(model.config, LstmConfig):
        with pytest.raises(ValueError, match="decoders, not lstms"):
            generate(model, PROMPTS, 5, compile=True)
        return
    full = model.config.max_seq_len
    prompts = [*PROMPTS, [7] * (full - 3), [8] * full]
    for sampling in (Sampling(), Sampling(temperature=1.0, min_p=0.02, seed=5)):
        expected = list(stream(model, prompts, 30, sampling, stop_ids=[11]))
        found = list(stream(model, prompts, 30, sampling, stop_ids=[11], compile=True))
        assert [new[:2] for new in found] == [new[:2] for new in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_a_step_of_fixed_slots_changes_no_shape_and_no_address(tiny):
    """What a graph that is captured once and replayed relies on."""
    model = make_model(tiny).eval()
    cache = static_cache.StaticCache(model, 20, torch.tensor([2, 0]))
    held = [cache.slot_1, *(layer.k_BKSE for layer in cache.layers)]
    places = [(tensor.data_ptr(), tensor.shape) for tensor in held]
    with torch.no_grad():
        for length in (5, 1, 1):
            model.hidden(torch.ones(2, length, dtype=torch.long), cache)
    held = [cache.slot_1, *(layer.k_BKSE for layer in cache.layers)]
    assert [(tensor.data_ptr(), tensor.shape) for tensor in held] == places
    assert cache.slot_1.tolist() == [7]


# --- text ----------------------------------------------------------------------------------------


def as_text(tokenizer, ids, stop_strings=()):
    """The pieces that were shown as the ids came, up to the end."""
    text, pieces = TextStream(tokenizer, stop_strings), []
    for token_id in ids:
        pieces.append(text.add(token_id))
        if text.is_over:
            break
    return [*pieces, text.finish()], text.is_over


@pytest.mark.parametrize("seed", range(20))
def test_pieces_of_text_are_the_whole_and_whole_characters(tokenizer, seed):
    rng = random.Random(seed)
    said = "".join(rng.choice("aé漢🜛 \n") for _ in range(200))
    ids = chat.encode_text(tokenizer, said)
    pieces, _ = as_text(tokenizer, ids)
    assert "".join(pieces) == said
    assert not any("\ufffd" in piece for piece in pieces)
    broken = [rng.randrange(tokenizer.get_vocab_size()) for _ in range(300)]
    pieces, _ = as_text(tokenizer, broken)
    assert "".join(pieces) == chat.decode(tokenizer, broken)


@pytest.mark.parametrize("seed", range(20))
def test_text_ends_where_the_first_stop_string_to_be_whole_begins(tokenizer, seed):
    rng = random.Random(seed)
    said = "".join(rng.choice("ab \né") for _ in range(80))
    stops = ["".join(rng.choice("ab \n") for _ in range(rng.randint(2, 6))) for _ in range(3)]
    ends = [(said.find(stop) + len(stop), said.find(stop)) for stop in stops if stop in said]
    pieces, is_over = as_text(tokenizer, chat.encode_text(tokenizer, said), stops)
    assert is_over == bool(ends)
    assert "".join(pieces) == (said[: min(ends)[1]] if ends else said)


def test_half_of_a_stop_string_is_never_shown(tokenizer):
    ids = chat.encode_text(tokenizer, "iron ore\n\nUs User: coal")
    shown = ""
    for piece in as_text(tokenizer, ids, ["\n\nUser:"])[0]:
        shown += piece
        assert not any(shown.endswith("\n\nUser:"[:size]) for size in range(1, 8))
    assert shown == "iron ore\n\nUs User: coal"


def test_a_stop_string_ends_its_row_only(tiny, tokenizer):
    torch.manual_seed(1)
    model = make_model(tiny).eval()
    sampling = Sampling(temperature=1.0, seed=2)
    free = generate_text(model, tokenizer, PROMPTS, 30, sampling)
    assert [answer.token_ids for answer in free] == generate(model, PROMPTS, 30, sampling)
    assert [a.text for a in free] == [chat.decode(tokenizer, a.token_ids) for a in free]
    stop = free[2].text[10:13]
    for whole, found in zip(
        free, generate_text(model, tokenizer, PROMPTS, 30, sampling, [stop]), strict=True
    ):
        cut = whole.text.find(stop)
        assert found.text == (whole.text[:cut] if cut >= 0 else whole.text)
        num_tokens = len(found.token_ids)
        assert found.token_ids == whole.token_ids[:num_tokens]
        assert len(found.logprobs) == num_tokens
        if cut >= 0:  # the last token is the one that made the stop string whole
            assert stop in chat.decode(tokenizer, found.token_ids)
            assert stop not in chat.decode(tokenizer, found.token_ids[:-1])
    with pytest.raises(ValueError, match="empty"):
        generate_text(model, tokenizer, PROMPTS, 1, stop_strings=[""])


def test_the_command_line_answers(base_model, capsys):
    assert cli.main([str(base_model), "--prompt", "iron", "--max-new-tokens", "5"]) == 0
    first = capsys.readouterr().out
    assert cli.main([str(base_model), "--prompt", "iron", "--max-new-tokens", "5"]) == 0
    assert capsys.readouterr().out == first
    assert cli.main([str(base_model), "--prompt", "iron", "--chat", "--temperature", "1"]) == 0


@pytest.mark.parametrize("wrong", [[], ["--device", "foo"], ["--device", "cuda:x"]])
def test_the_command_line_says_in_one_line_what_is_wrong(tmp_path, capsys, wrong):
    assert cli.main([str(tmp_path), "--prompt", "iron", *wrong]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_the_command_line_stops_and_lists_log_probabilities(base_model, capsys):
    run = [str(base_model), "--prompt", "iron", "--max-new-tokens", "8", "--temperature", "1"]
    assert cli.main([*run, "--min-p", "0.01", "--logprobs"]) == 0
    lines = capsys.readouterr().out.splitlines()[-8:]
    assert all(float(line.split()[0]) < 0 for line in lines)
    assert cli.main(run) == 0
    whole = capsys.readouterr().out.rstrip("\n")
    stop = whole[3:5]
    assert cli.main([*run, "--stop", stop]) == 0
    assert capsys.readouterr().out.rstrip("\n") == whole[: whole.find(stop)]
    assert cli.main([*run, "--min-p", "2"]) == 2
    assert "min_p" in capsys.readouterr().err

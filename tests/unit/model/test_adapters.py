"""Fine-tuning beside a frozen model: it begins as that model, is peft's LoRA, merges, resumes."""

import dataclasses
import json
from pathlib import Path

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from model.adapters import add_adapters, merged, trained_state
from model.architectures import ModelConfig
from model.checkpoint import load_model
from model.decoder import Decoder
from model.huggingface import to_huggingface
from model.options import PROJECTIONS, FinetuneConfig
from model.peft_format import load_peft, save_peft
from model.trainer import Trainer, train

GPT2 = {"norm": "layernorm", "position": "learned", "mlp": "gelu", "bias": True, "n_kv_heads": 4}
METHODS = {
    "lora": FinetuneConfig(rank=4),
    "lora-qv": FinetuneConfig(rank=2, alpha=3.0, targets=("q_proj", "v_proj", "down_proj")),
    "qlora": FinetuneConfig(rank=4, base="nf4"),
    "adapter": FinetuneConfig(method="adapter", rank=4),
    "prefix": FinetuneConfig(method="prefix", prefix_tokens=5),
    "bitfit": FinetuneConfig(method="bitfit"),
}


def frozen(tiny: ModelConfig, name: str) -> tuple[Decoder, Decoder]:
    """A plain model, and the same with what the method adds."""
    torch.manual_seed(0)
    config = dataclasses.replace(tiny, **GPT2) if name == "bitfit" else tiny
    plain = Decoder(config).eval()
    beside = Decoder(config).eval()
    beside.load_state_dict(plain.state_dict())
    return plain, add_adapters(beside, METHODS[name]).eval()


def shake(model: Decoder) -> None:
    with torch.no_grad():
        for parameter in trained_state(model).values():
            parameter.add_(0.2 * torch.randn_like(parameter))


@pytest.fixture
def x_BT(tiny):
    return torch.randint(tiny.vocab_size, (2, 20), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [n for n in METHODS if n != "qlora"])
@torch.no_grad()
def test_it_begins_as_the_model_it_was_given(tiny, name, x_BT):
    plain, beside = frozen(tiny, name)
    torch.testing.assert_close(beside(x_BT), plain(x_BT), rtol=0, atol=1e-6)
    shake(beside)
    assert not torch.allclose(beside(x_BT), plain(x_BT), atol=1e-3)


@pytest.mark.parametrize("name", ["lora", "lora-qv"])
@torch.no_grad()
def test_lora_is_that_of_peft_both_ways(tiny, name, x_BT, tmp_path):
    plain, beside = frozen(tiny, name)
    shake(beside)
    save_peft(beside, tmp_path / "ours")
    config, state = to_huggingface(plain)

    def theirs() -> transformers.PreTrainedModel:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config)).eval()
        model.load_state_dict(state)
        return model

    loaded = peft.PeftModel.from_pretrained(theirs(), tmp_path / "ours").eval()
    torch.testing.assert_close(beside(x_BT), loaded(x_BT).logits, rtol=0, atol=1e-4)

    settings = METHODS[name]
    wanted = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=int(settings.alpha),
        target_modules=list(settings.targets),
        task_type="CAUSAL_LM",
    )
    made = peft.get_peft_model(theirs(), wanted).eval()
    for key, parameter in made.named_parameters():
        if "lora_" in key:
            parameter.add_(0.2 * torch.randn_like(parameter))
    made.save_pretrained(tmp_path / "theirs")
    back = Decoder(plain.config).eval()
    back.load_state_dict(plain.state_dict())
    found = load_peft(back, tmp_path / "theirs")
    assert set(found.targets) == set(settings.targets)
    torch.testing.assert_close(back(x_BT), made(x_BT).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["lora", "lora-qv", "bitfit"])
@torch.no_grad()
def test_merged_it_is_a_plain_model_that_says_the_same(tiny, name, x_BT):
    _, beside = frozen(tiny, name)
    shake(beside)
    plain = merged(beside)
    assert plain.finetune is None
    assert plain.state_dict().keys() == Decoder(beside.config).state_dict().keys()
    torch.testing.assert_close(plain(x_BT), beside(x_BT), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["adapter", "prefix"])
def test_what_cannot_be_merged_says_so(tiny, name):
    with pytest.raises(ValueError, match=f"{name} cannot be merged"):
        merged(frozen(tiny, name)[1])


def test_four_bits_are_those_of_the_library(tiny, x_BT):
    functional = pytest.importorskip("bitsandbytes.functional")
    plain, beside = frozen(tiny, "qlora")
    weight = plain.blocks[0].mlp.gate_up.weight.detach()
    rounded = functional.dequantize_4bit(*functional.quantize_4bit(weight, quant_type="nf4"))
    found = merged(beside).blocks[0].mlp.gate_up.weight
    torch.testing.assert_close(found, rounded, rtol=0, atol=0)
    # and what is computed with them is what those weights say
    torch.testing.assert_close(beside(x_BT), merged(beside)(x_BT), rtol=0, atol=1e-5)


def test_few_parameters_are_trained():
    config = ModelConfig(
        vocab_size=4096,
        width=512,
        n_layers=4,
        n_heads=8,
        n_kv_heads=4,
        max_seq_len=64,
        mlp_width=1408,
    )
    model = Decoder(config)
    total = model.num_parameters()
    add_adapters(model, FinetuneConfig(rank=4, targets=("q_proj", "v_proj")))
    trained = sum(p.numel() for p in trained_state(model).values())
    assert 0 < trained / total < 0.01


def test_a_model_without_biases_has_nothing_for_bitfit(tiny):
    with pytest.raises(ValueError, match="no biases"):
        add_adapters(Decoder(tiny), METHODS["bitfit"])


def test_nothing_is_added_to_what_was_added(tiny, make_job, tmp_path):
    model = add_adapters(Decoder(tiny), METHODS["prefix"])
    with pytest.raises(ValueError, match="already has what prefix adds"):
        add_adapters(model, METHODS["lora"])
    first = make_job("sft", steps=1, finetune=METHODS["prefix"], out_dir=str(tmp_path / "first"))
    train(first)
    again = make_job("sft", init_from=str(tmp_path / "first/final"), out_dir=str(tmp_path / "two"))
    with pytest.raises(ValueError, match="fine-tuned beside a frozen model"):
        train(again)


def test_a_preference_trained_in_four_bits_begins_as_its_reference(make_job):
    pytest.importorskip("bitsandbytes")
    job = make_job("dpo", steps=1, finetune=METHODS["qlora"])
    trainer = Trainer(job)
    try:
        sums = trainer.criterion.sums(trainer.model.eval(), next(trainer.val_loader.sweep()))
    finally:
        trainer.close()
    assert float(sums["margin"]) == pytest.approx(0.0, abs=1e-5)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="targets must be among"):
        FinetuneConfig(targets=("c_attn",))
    with pytest.raises(ValueError, match="method = lora"):
        FinetuneConfig(method="prefix", base="nf4")


@pytest.mark.parametrize("name", ["lora", "qlora", "adapter", "prefix"])
def test_training_moves_only_what_was_added_and_resumes_to_the_same_bits(
    make_job, tmp_path, base_model, name
):
    jobs = [
        make_job("sft", finetune=METHODS[name], out_dir=str(tmp_path / which))
        for which in ("whole", "halves")
    ]
    calls = iter(range(100))
    assert train(jobs[0]) == "done"
    assert train(jobs[1], lambda: next(calls) == 4) == "stopped"
    (saved,) = (tmp_path / "halves" / "checkpoints").iterdir()
    assert (saved / "model.safetensors").stat().st_size < 60_000
    assert train(jobs[1]) == "done"
    one, two = (load_file(Path(job.out_dir) / "final/model.safetensors") for job in jobs)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    embed = load_file(base_model / "model.safetensors")["embed.weight"]
    assert torch.equal(one["embed.weight"], embed)
    model, _ = load_model(Path(jobs[0].out_dir) / "final")
    assert (model.finetune is None) == name.endswith("lora")
    log = (tmp_path / "whole/metrics.jsonl").read_text().splitlines()
    evaluated = [e["val_loss"] for e in map(json.loads, log) if e["event"] == "eval"]
    x_BT = torch.randint(320, (1, 16))
    before, _ = load_model(base_model)
    assert not torch.equal(before(x_BT), model(x_BT))
    assert evaluated[-1] <= evaluated[0]


def test_projections_have_the_names_of_transformers(tiny):
    _, state = to_huggingface(Decoder(tiny))
    names = {key.split(".")[-2] for key in state if ".layers." in key and "norm" not in key}
    assert names == set(PROJECTIONS)

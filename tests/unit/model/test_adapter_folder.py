"""LoRA in folders: merged it is what peft merges, taken out again the model is as it was."""

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from model.adapter_folder import main, merge_adapter
from model.checkpoint import load_model
from model.huggingface_folder import export_folder, import_folder
from model.huggingface_folder import main as main_hf
from model.options import FinetuneConfig
from model.trainer import train


@pytest.fixture(scope="module")
def theirs(tmp_path_factory, base_model):
    """The base as transformers has it, a LoRA for it as peft writes it, and peft's merged model."""
    folder = tmp_path_factory.mktemp("peft")
    export_folder(base_model, folder / "base")
    model = transformers.LlamaForCausalLM.from_pretrained(folder / "base")
    settings = peft.LoraConfig(
        r=3, lora_alpha=5, target_modules=["q_proj", "v_proj", "up_proj"], task_type="CAUSAL_LM"
    )
    made = peft.get_peft_model(model, settings).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    made.save_pretrained(folder / "adapter")
    return folder, made.merge_and_unload()


@torch.no_grad()
def test_merged_it_is_what_peft_merges(base_model, theirs, tmp_path, capsys):
    folder, merged = theirs
    x_BT = torch.randint(300, (2, 20), generator=torch.Generator().manual_seed(1))
    expected = merged(x_BT).logits
    target = tmp_path / "merged"
    assert main(["merge", str(base_model), str(folder / "adapter"), str(target)]) == 0
    model, _ = load_model(target)
    torch.testing.assert_close(model(x_BT), expected, rtol=0, atol=1e-4)
    assert not torch.allclose(load_model(base_model)[0](x_BT), expected, atol=1e-2)

    arguments = ["import", str(folder / "base"), str(tmp_path / "read")]
    assert main_hf([*arguments, "--adapter", str(folder / "adapter")]) == 0
    read, _ = load_model(tmp_path / "read")
    torch.testing.assert_close(read(x_BT), expected, rtol=0, atol=1e-4)
    assert main(["merge", str(base_model), str(folder / "adapter"), str(target)]) == 2
    assert "there already" in capsys.readouterr().err


def test_taken_out_the_model_is_the_one_that_was_trained(base_model, theirs, make_job, tmp_path):
    job = make_job("sft", steps=5, finetune=FinetuneConfig(rank=4))
    train(job)
    before = load_file(base_model / "model.safetensors")
    trained = load_file(tmp_path / "out/final/model.safetensors")
    assert main(["unmerge", str(tmp_path / "out/final"), str(tmp_path / "base")]) == 0
    after = load_file(tmp_path / "base/model.safetensors")
    assert after.keys() == before.keys()
    assert not (tmp_path / "base/adapter").exists()
    moved = max(float((trained[name] - before[name]).abs().max()) for name in before)
    assert moved > 1e-4
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-3 * moved)
    # and with the same adapter merged once more it is the trained one
    again = merge_adapter(tmp_path / "base", tmp_path / "out/final/adapter", tmp_path / "again")
    for name, tensor in load_file(again / "model.safetensors").items():
        torch.testing.assert_close(tensor, trained[name], rtol=0, atol=1e-3 * moved)


def test_what_is_no_adapter_is_said(base_model, theirs, tmp_path, capsys):
    assert main(["unmerge", str(base_model), str(tmp_path / "a")]) == 2
    assert "nothing was merged" in capsys.readouterr().err
    assert main(["merge", str(base_model), str(base_model), str(tmp_path / "a")]) == 2
    assert "adapter_config.json" in capsys.readouterr().err
    with pytest.raises(ValueError, match="adapter_model"):
        (tmp_path / "half").mkdir()
        config = (theirs[0] / "adapter/adapter_config.json").read_text()
        (tmp_path / "half/adapter_config.json").write_text(config)
        import_folder(theirs[0] / "base", tmp_path / "a", tmp_path / "half")
    assert not (tmp_path / "a").exists()

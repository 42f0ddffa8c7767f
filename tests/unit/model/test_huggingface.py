"""transformers as the witness: the same weights give the same logits there and here, both ways."""

import dataclasses
import random

import pytest
import torch
import transformers

from model.adapters import add_adapters
from model.architectures import EncoderConfig, ModelConfig, RopeScaling
from model.batches import TokenBatch
from model.decoder import Decoder
from model.encoder import Encoder
from model.generate import generate
from model.huggingface import from_huggingface, to_huggingface
from model.objectives.mlm import MaskedToken
from model.options import FinetuneConfig

GPT2 = {"norm": "layernorm", "position": "learned", "mlp": "gelu", "bias": True}
YARN = RopeScaling(kind="yarn", factor=4.0, original_max_seq_len=16)
FAMILIES = {
    "gpt2": GPT2,
    "llama": {},
    "llama-untied": {"tie_embeddings": False, "rope_theta": 500.0},
    "llama-bias": {"bias": True},
    "llama-wide-heads": {"head_dim": 16},
    "llama3": {
        "rope_scaling": RopeScaling(kind="llama3", factor=8.0, original_max_seq_len=32),
        "rope_theta": 500_000.0,
    },
    "llama-linear": {
        "rope_scaling": RopeScaling(kind="linear", factor=2.0, original_max_seq_len=32)
    },
    "llama-yarn": {"rope_scaling": YARN},
    "llama-yarn-gain": {"rope_scaling": dataclasses.replace(YARN, attention_factor=0.7)},
    "mistral": {"sliding_window": 7, "tie_embeddings": False},
    "qwen2": {"qkv_bias": True},
    "qwen2-window": {"qkv_bias": True, "sliding_window": 5, "full_attention_layers": (0,)},
    "qwen3": {"qk_norm": True, "head_dim": 12},
    "qwen3-yarn": {"qk_norm": True, "rope_scaling": YARN, "tie_embeddings": False},
}


def random_model(changes: dict, seed: int = 0) -> Decoder:
    """A small model of random shape; norm gains and biases away from one and nought."""
    rng = random.Random(seed)
    n_kv_heads = rng.choice([1, 2, 4])
    n_heads = n_kv_heads if changes.get("mlp") == "gelu" else n_kv_heads * rng.choice([1, 2])
    shape = {
        "vocab_size": rng.randint(50, 200),
        "width": 8 * n_heads,
        "n_layers": rng.randint(2, 3),
        "n_heads": n_heads,
        "n_kv_heads": n_kv_heads,
        "max_seq_len": 64,
        "mlp_width": rng.randint(20, 60),
    }
    torch.manual_seed(seed)
    model = Decoder(ModelConfig(**(shape | changes))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def theirs_of(model: Decoder) -> transformers.PreTrainedModel:
    config, state = to_huggingface(model)
    with_class = getattr(transformers, config["architectures"][0])
    theirs = with_class(with_class.config_class(**config)).eval()
    theirs.load_state_dict(state)
    return theirs


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_logits_are_those_of_transformers(family, seed):
    model = random_model(FAMILIES[family], seed)
    x_BT = torch.randint(model.config.vocab_size, (2, 40))
    theirs = theirs_of(model)
    torch.testing.assert_close(model(x_BT), theirs(x_BT).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_model_of_transformers_has_its_logits_here(family):
    theirs = theirs_of(random_model(FAMILIES[family], seed=5))
    for parameter in theirs.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    ours = from_huggingface(theirs.config.to_dict(), theirs.state_dict())
    x_BT = torch.randint(ours.config.vocab_size, (2, 40))
    torch.testing.assert_close(ours(x_BT), theirs(x_BT).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_there_and_back_is_bit_equal(family):
    model = random_model(FAMILIES[family], seed=1)
    back = from_huggingface(*to_huggingface(model))
    assert back.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_greedy_text_is_that_of_transformers(family):
    model = random_model(FAMILIES[family], seed=2)
    prompts = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [5, 4, 3]]
    ours = generate(model, prompts, max_new_tokens=20)
    for prompt, answer in zip(prompts, ours, strict=True):
        x_BT = torch.tensor([prompt])
        found = theirs_of(model).generate(
            x_BT,
            attention_mask=torch.ones_like(x_BT),
            max_new_tokens=20,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert answer == found[0, len(prompt) :].tolist()


def random_encoder(num_classes: int | None = None) -> Encoder:
    torch.manual_seed(3)
    config = EncoderConfig(
        vocab_size=90,
        width=24,
        n_layers=2,
        n_heads=3,
        max_seq_len=40,
        mlp_width=50,
        num_classes=num_classes,
    )
    model = Encoder(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("num_classes", [None, 3])
@torch.no_grad()
def test_an_encoder_has_the_logits_of_bert(num_classes):
    model = random_encoder(num_classes)
    theirs = theirs_of(model)
    x_BT = torch.randint(90, (2, 30))
    types_BT = torch.randint(2, (2, 30))
    real_BT = torch.ones_like(x_BT)
    real_BT[1, 20:] = 0
    hidden_BTD = model.hidden(x_BT, documents_BT=real_BT, types_BT=types_BT)
    expected = theirs(x_BT, attention_mask=real_BT, token_type_ids=types_BT).logits
    if num_classes:
        found = model.classify(hidden_BTD)
    else:
        found = model.head(hidden_BTD)[real_BT > 0]
        expected = expected[real_BT > 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    back = from_huggingface(theirs.config.to_dict(), theirs.state_dict())
    assert back.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, back.state_dict()[name]), name


@torch.no_grad()
def test_the_masked_loss_is_that_of_bert():
    model = random_encoder()
    x_BT = torch.randint(90, (4, 30))
    hidden_BT = torch.rand(4, 30) < 0.15
    labels_BT = torch.where(hidden_BT, x_BT, -100)
    shown_BT = torch.where(hidden_BT, 5, x_BT)
    expected = theirs_of(model)(shown_BT, labels=labels_BT).loss
    batch = TokenBatch(shown_BT, x_BT, hidden_BT, (30,) * 4)
    criterion = MaskedToken(document_start=-1)
    found = criterion.sums(model, batch)["loss"] / criterion.count(batch)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "mamba"},
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"rope_parameters": {"rope_type": "longrope", "factor": 2.0}},
        {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "mscale": 1.0}},
    ],
)
def test_what_the_engine_does_not_have_is_refused_by_name(changes):
    config, state = to_huggingface(random_model({}))
    with pytest.raises(ValueError, match="supported"):
        from_huggingface(config | changes, state)


def test_missing_and_misshapen_weights_are_named():
    config, state = to_huggingface(random_model({}))
    missing = {k: v for k, v in state.items() if "layers.1.mlp.up_proj" not in k}
    with pytest.raises(ValueError, match=r"lack 'model\.layers\.1\.mlp\.up_proj\.weight'"):
        from_huggingface(config, missing)
    with pytest.raises(ValueError, match="do not fit"):
        from_huggingface(config | {"vocab_size": 999}, state)


@pytest.mark.parametrize(
    "changes",
    [
        GPT2 | {"position": "rope"},
        GPT2 | {"logit_softcap": 10.0},
        GPT2 | {"value_embeddings": True},
        {"input_residual": True},
        {"mlp": "relu2"},
    ],
)
def test_a_mixture_that_transformers_has_no_name_for_is_refused(changes):
    with pytest.raises(ValueError, match="no architecture"):
        to_huggingface(random_model(changes))


@pytest.mark.parametrize("method", ["prefix", "lora"])
def test_what_is_trained_beside_a_model_is_not_lost_on_the_way(method):
    model = add_adapters(random_model({}), FinetuneConfig(method=method))
    with pytest.raises(ValueError, match=f"{method} adds has no place"):
        to_huggingface(model)

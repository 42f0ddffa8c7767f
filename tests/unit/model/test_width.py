"""Width transfer: activations keep their size as models widen, and nothing else changes."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from model.decoder import Decoder
from model.huggingface import to_huggingface
from model.optim import make_optimizer, set_learning_rate
from model.options import OptimConfig
from model.width import by_width

WIDTHS = (16, 128)
BATCH_BT = torch.randint(64, (4, 17), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def decoder(tiny):
    def make(width, base, seed=0, **changes):
        torch.manual_seed(seed)
        heads = {"n_heads": width // 8, "n_kv_heads": width // 8, "mlp_width": 2 * width}
        shape = heads | {"vocab_size": 64, "width": width, "width_base": base} | changes
        return Decoder(dataclasses.replace(tiny, **shape))

    return make


def step(model, optimizer, lr=0.02):
    set_learning_rate(optimizer, lr)
    loss = F.cross_entropy(model(BATCH_BT[:, :-1]).flatten(0, 1), BATCH_BT[:, 1:].flatten())
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def sizes_after(model, kind, steps=4):
    """Root mean square of the stream after each block, and of the logits."""
    optimizer = make_optimizer(model, OptimConfig(kind=kind, lr=0.02, weight_decay=0.0))
    for _ in range(steps):
        step(model, optimizer)
    found = []
    for block in model.blocks:
        block.register_forward_hook(lambda *given: found.append(given[2]))
    with torch.no_grad():
        found.append(model(BATCH_BT[:, :-1]))
    return [x.square().mean().sqrt().item() for x in found]


def largest_growth(make, base, kind):
    """Over all places, how many times the smallest activation of any width the largest is."""
    by_width = [sizes_after(make(width, base), kind) for width in WIDTHS]
    return max(max(place) / min(place) for place in zip(*by_width, strict=True))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_activations_keep_their_size_at_eight_times_the_width(decoder, kind):
    assert largest_growth(decoder, 16, kind) < 2
    assert largest_growth(decoder, None, kind) > 3


def test_at_its_base_width_a_model_is_the_one_without(decoder):
    for kind in ("adamw", "muon"):
        plain, based = decoder(32, None), decoder(32, 32)
        for model in (plain, based):
            optimizer = make_optimizer(model, OptimConfig(kind=kind))
            for _ in range(3):
                step(model, optimizer)
        for one, other in zip(plain.parameters(), based.parameters(), strict=True):
            assert torch.equal(one, other)


def test_the_final_gain_is_the_factor_on_logits_of_the_paper(decoder):
    """Table 8 has a factor of 1/m on logits and gains that move at the full rate. A gain of 1/m
    that moves at 1/m of it is the same under Adam: told by training both."""
    m = 4
    ours = decoder(64, 16)
    theirs = decoder(64, 16)
    with torch.no_grad():
        theirs.norm.weight.mul_(m)
    theirs.norm.register_forward_hook(lambda *given: given[2] / m)
    config = OptimConfig(eps=1e-20, weight_decay=0.1)
    optimizers = [make_optimizer(model, config) for model in (ours, theirs)]
    (gain,) = (
        group
        for group in optimizers[1].param_groups
        if any(p is theirs.norm.weight for p in group["params"])
    )
    gain["lr_ratio"] = 1.0
    for _ in range(5):
        losses = [step(*pair) for pair in zip((ours, theirs), optimizers, strict=True)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(ours.norm.weight * m, theirs.norm.weight, rtol=1e-4, atol=1e-5)


def test_every_weight_is_in_one_group_and_decays_as_at_the_base_width(decoder):
    for kind, ratio in (("adamw", 1 / 4), ("muon", 1 / 2)):
        model = decoder(64, 16, tie_embeddings=False)
        groups = make_optimizer(model, OptimConfig(kind=kind, weight_decay=0.1)).param_groups
        members = [id(p) for group in groups for p in group["params"]]
        assert sorted(members) == sorted(map(id, model.parameters()))
        named = {id(p): name for name, p in model.named_parameters()}
        for group in groups:
            names = {named[id(p)] for p in group["params"]}
            decay = group["weight_decay"]
            if any(name.startswith("blocks.") and "norm" not in name for name in names):
                assert group["lr_ratio"] == ratio
                assert group["lr_ratio"] * decay == pytest.approx(0.1)
            elif names == {"norm.weight"}:
                assert (group["lr_ratio"], decay) == (1 / 4, 0.0)
            else:
                assert group["lr_ratio"] == 1.0
                assert decay in (0.0, 0.1)


def test_without_a_base_width_groups_are_left_alone(decoder):
    model = decoder(64, None)
    groups = [{"params": list(model.parameters()), "weight_decay": 0.1}]
    assert by_width(groups, model) is groups


def test_the_exported_file_needs_to_know_nothing_of_it(decoder):
    transformers = pytest.importorskip("transformers")
    model = decoder(64, 16).eval()
    config, state = to_huggingface(model)
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config)).eval()
    theirs.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(theirs(BATCH_BT).logits, model(BATCH_BT), rtol=1e-4, atol=1e-5)


def test_lora_beside_a_frozen_model_moves_at_the_rate_itself(decoder):
    from model.adapters import add_adapters
    from model.options import FinetuneConfig

    model = decoder(64, 16)
    add_adapters(model, FinetuneConfig(rank=2))
    groups = make_optimizer(model, OptimConfig()).param_groups
    assert all("lr_ratio" not in group for group in groups)

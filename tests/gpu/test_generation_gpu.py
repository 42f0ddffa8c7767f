"""On a GPU: the compiled step, replayed as a CUDA graph, says what the step as it is says."""

import pytest
import torch

from model.architectures import model_preset
from model.decoder import Decoder
from model.generate import generate, stream
from model.sampling import Sampling

PROMPTS = [[5, 6, 7, 8, 9], [11], [3, 4, 3], [250] * 12]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Decoder(model_preset("llama-demo", 512, 256)).to("cuda").eval()


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.0, top_p=0.9, seed=4)])
def test_a_replayed_graph_gives_the_same_tokens(model, sampling):
    expected = list(stream(model, PROMPTS, 60, sampling))
    for _ in range(2):  # the second time without compiling, with a cache of its own
        found = list(stream(model, PROMPTS, 60, sampling, compile=True))
        assert [new[:2] for new in found] == [new[:2] for new in expected]


def test_a_gpu_says_what_a_cpu_says(model):
    on_cpu = Decoder(model.config).eval()
    on_cpu.load_state_dict({name: tensor.cpu() for name, tensor in model.state_dict().items()})
    assert generate(model, PROMPTS, 20) == generate(on_cpu, PROMPTS, 20)

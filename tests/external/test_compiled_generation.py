"""The compiled step says what the step as it is says. Compiling takes minutes on a CPU."""

import pytest
import torch

from model.architectures import ModelConfig
from model.decoder import Decoder
from model.generate import stream
from model.sampling import Sampling

PROMPTS = [[5, 6, 7, 8, 9], [11], [3, 4, 3], [250] * 12]


@pytest.mark.external
def test_the_compiled_step_gives_the_same_tokens():
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=320,
        width=32,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        max_seq_len=64,
        mlp_width=48,
        sliding_window=9,
        full_attention_layers=(1,),
    )
    model = Decoder(config).eval()
    for sampling in (Sampling(), Sampling(temperature=1.0, top_p=0.9, seed=4)):
        expected = list(stream(model, PROMPTS, 30, sampling))
        found = list(stream(model, PROMPTS, 30, sampling, compile=True))
        assert [new[:2] for new in found] == [new[:2] for new in expected]

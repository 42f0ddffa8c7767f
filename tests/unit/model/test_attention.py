"""Attention under masks: every kernel's mask says what the dense one says."""

import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.testing import CompileCounter
from torch.nn.attention.flex_attention import create_block_mask

from model.attention import (
    Blocks,
    attend,
    choose_backend,
    first_seen,
    make_blocks,
    make_spans,
)
from model.decoder import Decoder

CPU = torch.device("cpu")


def packed(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    """(B, T) numbers of documents of unequal length, the first of each row in its middle."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(rows, length, generator=generator) < 6 / length).cumsum(dim=1)


def dense(documents_BT: torch.Tensor, window: int | None) -> torch.Tensor:
    """(B, T, T) by definition: same document, not later, not further back than the window."""
    place = torch.arange(documents_BT.shape[1])
    back_TT = place[:, None] - place
    same_BTT = documents_BT[:, :, None] == documents_BT[:, None, :]
    return same_BTT & (back_TT >= 0) & (back_TT < (window or len(place)))


@pytest.mark.parametrize("window", [None, 1, 20, 200])
@pytest.mark.parametrize("length", [384, 300])
def test_flex_lists_the_blocks_that_torch_finds_by_looking_at_every_pair(length, window):
    documents_BT = packed(2, length)
    mask_BTT = dense(documents_BT, window)
    ours = make_blocks(first_seen(documents_BT, window)).mask
    theirs = create_block_mask(
        lambda b, h, q, k: mask_BTT[b, q, k], 2, None, length, length, device="cpu"
    )
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert torch.equal(ours.to_dense(), theirs.to_dense())
    for kind in ("kv", "full_kv"):
        counts = getattr(theirs, f"{kind}_num_blocks")
        for at in zip(*torch.nonzero(counts, as_tuple=True), strict=True):
            chosen = [getattr(m, f"{kind}_indices")[at][: counts[at]] for m in (ours, theirs)]
            assert torch.equal(*(c.sort().values for c in chosen))


@pytest.mark.parametrize("window", [None, 50])
def test_flex_attention_is_dense_attention(window):
    torch.manual_seed(0)
    documents_BT = packed(2, 300)
    q, k, v = torch.randn(2, 4, 300, 16), torch.randn(2, 2, 300, 16), torch.randn(2, 2, 300, 16)
    mask = make_blocks(first_seen(documents_BT, window))
    assert isinstance(mask, Blocks)
    with torch.no_grad():  # on a CPU flex has no gradients
        ours = attend(q, k, v, mask)
        expected = attend(q, k, v, dense(documents_BT, window)[:, None])
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("window", [None, 7])
def test_spans_are_the_documents_of_all_rows_one_after_another(window):
    """Attention on each stretch alone, as flash attention does it, is attention under the mask."""
    torch.manual_seed(0)
    documents_BT = packed(3, 60)
    spans = make_spans(documents_BT, window)
    q, k, v = (torch.randn(3, 2, 60, 8) for _ in range(3))
    flat = [x.transpose(1, 2).flatten(0, 1) for x in (q, k, v)]
    parts, starts = [], spans.starts_N.tolist()
    assert spans.starts_N.dtype == torch.int32
    for start, stop in itertools.pairwise(starts):
        assert 0 < stop - start <= spans.longest
        here = [x[start:stop].transpose(0, 1)[None] for x in flat]
        back = torch.arange(stop - start)[:, None] - torch.arange(stop - start)
        sees = (back >= 0) & (back < (spans.window or spans.longest))
        parts.append(F.scaled_dot_product_attention(*here, attn_mask=sees)[0].transpose(0, 1))
    seen = torch.cat(parts).view(3, 60, 2, 8).transpose(1, 2)
    expected = attend(q, k, v, dense(documents_BT, window)[:, None])
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sliding_window": 20},
        {"sliding_window": 20, "full_attention_layers": (1,)},
        {"position": "learned", "norm": "layernorm", "mlp": "gelu", "bias": True},
        {"n_kv_heads": 4, "qk_norm": True, "value_embeddings": True},
    ],
)
@pytest.mark.parametrize("with_documents", [True, False])
def test_a_decoder_says_the_same_with_flex_masks(tiny, changes, with_documents):
    torch.manual_seed(0)
    model = Decoder(dataclasses.replace(tiny, max_seq_len=160, **changes)).eval()
    tokens_BT = torch.randint(0, tiny.vocab_size, (2, 160))
    documents_BT = packed(2, 160) if with_documents else None
    with torch.no_grad():
        expected = model.hidden(tokens_BT, documents_BT=documents_BT)
        model.attention_backend = "flex"
        hidden = model.hidden(tokens_BT, documents_BT=documents_BT)
    torch.testing.assert_close(hidden, expected, rtol=0, atol=2e-5)


def test_what_cannot_be_had_is_refused_with_the_reason():
    assert choose_backend("auto", CPU, torch.float32, 64) == "sdpa"
    with pytest.raises(ValueError, match=r"flex.*gradients on a GPU only.*auto"):
        choose_backend("flex", CPU, torch.float32, 64)
    with pytest.raises(ValueError, match=r"varlen.*needs a GPU"):
        choose_backend("varlen", CPU, torch.bfloat16, 64)
    gpu = torch.device("cuda")  # nothing is asked of it
    assert choose_backend("auto", gpu, torch.float32, 64) != "varlen"
    with pytest.raises(ValueError, match="bf16"):
        choose_backend("varlen", gpu, torch.float32, 64)
    with pytest.raises(ValueError, match="at least 16"):
        choose_backend("flex", gpu, torch.bfloat16, 8)
    with pytest.raises(ValueError, match="256"):
        choose_backend("varlen", gpu, torch.bfloat16, 320)


def test_masks_of_other_documents_are_not_compiled_anew(tiny):
    torch._dynamo.reset()
    model = Decoder(dataclasses.replace(tiny, max_seq_len=160, sliding_window=50)).eval()
    model.attention_backend = "flex"
    counter = CompileCounter()
    model.stack = torch.compile(model.stack, dynamic=False, backend=counter)
    tokens_BT = torch.randint(0, tiny.vocab_size, (2, 160))
    with torch.no_grad():
        for seed in range(4):
            model.hidden(tokens_BT, documents_BT=packed(2, 160, seed))
    torch._dynamo.reset()
    assert counter.frame_count == 1

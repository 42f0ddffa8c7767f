"""Who may look at whom, and attention by the fastest kernel that can be told so.

In: the documents packed into rows, a sliding window, queries, keys and values. Out: masks, made
once a batch, and what the queries see. A mask is of the kind that its kernel reads:

``None``         position t sees positions <= t; torch's own choice of kernel
``Tensor``       boolean, True = may look: any mask, on any device; the reference for the others
``Blocks``       flex attention (Dong et al. 2024, arXiv:2412.05496): blocks that hide all are left
                 out; a GPU's, for on a CPU it has no gradients
``Spans``        flash attention on stretches of unequal length (Dao 2023, arXiv:2307.08691): what
                 is masked is not even there; a GPU's, in bfloat16

Shape suffixes: B batch, T query positions, S key positions, H query heads, K key heads, E head
width, Q query blocks, C key blocks, N stretches.
"""

import functools
import importlib.util
import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Backend = Literal["sdpa", "flex", "varlen"]

BLOCK = 128  # positions in a side of flex's blocks: its kernels' default
MAX_FLASH_HEAD_WIDTH = 256
MIN_FLEX_HEAD_WIDTH = 16


class Blocks(NamedTuple):
    """A block mask of ``torch.nn.attention.flex_attention``."""

    mask: Any


class Spans(NamedTuple):
    """Rows laid end to end, as causal stretches that do not see each other."""

    starts_N: Tensor
    """(N + 1,) int32: where each begins, and the end of all."""
    longest: int
    """No stretch is longer: the row's length, which is known without asking the GPU."""
    window: int | None


Mask = Tensor | Blocks | Spans | None


def choose_backend(
    asked: str, device: torch.device, dtype: torch.dtype, head_width: int
) -> Backend:
    """What ``attention = auto`` stands for, or ``asked`` itself where it can be had.

    varlen before flex: it computes nothing that is masked, in tiles of a document's own, and waits
    for no compiler.

    Raises:
        ValueError: what is asked cannot be had here.
    """
    reasons = {
        "sdpa": None,
        "flex": why_no_flex(device, head_width),
        "varlen": why_no_varlen(device, dtype, head_width),
    }
    if asked == "auto":
        best: tuple[Backend, ...] = ("varlen", "flex", "sdpa")
        return next(name for name in best if reasons[name] is None)
    if reasons[asked] is not None:
        raise ValueError(f'attention = "{asked}" {reasons[asked]}; use "auto"')
    return asked  # type: ignore[return-value]


def why_no_varlen(device: torch.device, dtype: torch.dtype, head_width: int) -> str | None:
    """What stands in the way of flash attention on stretches, if anything."""
    if device.type != "cuda":
        return f"needs a GPU, not {device.type}"
    if dtype not in (torch.bfloat16, torch.float16):
        return f'needs precision = "bf16", not {dtype}'
    if head_width > MAX_FLASH_HEAD_WIDTH or head_width % 8:
        return f"needs heads of at most 256 numbers, a multiple of 8, not {head_width}"
    if not {"window_size", "enable_gqa"} <= _varlen_settings():
        return f"is not in torch {torch.__version__}"
    return None


def why_no_flex(device: torch.device, head_width: int) -> str | None:
    """What stands in the way of training with flex attention, if anything."""
    if device.type != "cuda":
        return f"has gradients on a GPU only, not on {device.type}"
    if head_width < MIN_FLEX_HEAD_WIDTH:
        return f"needs heads of at least 16 numbers, not {head_width}"
    if importlib.util.find_spec("triton") is None:
        return "needs triton: pip install triton"
    return None


# --- masks -----------------------------------------------------------------------------------


def first_seen(documents_BT: Tensor, window: int | None) -> Tensor:
    """(B, T): the earliest position that each position sees, of its own document and window.

    It never falls along a row, and with causality it is the whole mask.
    """
    place_T = torch.arange(documents_BT.shape[1], device=documents_BT.device)
    is_first_BT = documents_BT.diff(dim=1, prepend=documents_BT[:, :1] - 1) != 0
    first_BT = torch.where(is_first_BT, place_T, 0).cummax(dim=1).values
    return first_BT if window is None else first_BT.maximum(place_T - window + 1)


def make_mask(documents_BT: Tensor, window: int | None, backend: Backend) -> Mask:
    """The mask for a GPU's kernel; ``documents_BT`` numbers, rising along a row, the documents
    packed into it. Dense masks are the decoder's."""
    if backend == "varlen":
        return make_spans(documents_BT, window)
    assert backend == "flex"
    return make_blocks(first_seen(documents_BT, window))


def make_spans(documents_BT: Tensor, window: int | None) -> Spans:
    """Where documents begin, all rows laid end to end. The host waits for this, once a batch."""
    rows, length = documents_BT.shape
    is_first_BT = documents_BT.diff(dim=1, prepend=documents_BT[:, :1] - 1) != 0
    starts = is_first_BT.flatten().nonzero()[:, 0]
    starts_N = F.pad(starts, (0, 1), value=rows * length).to(torch.int32)
    torch._dynamo.maybe_mark_dynamic(starts_N, 0)  # every batch has another number of documents
    return Spans(starts_N, length, window)


def make_blocks(first_BT: Tensor) -> Blocks:
    """Flex's mask of "from ``first_BT`` on, up to itself".

    Which blocks are empty or full is worked out from their corners: the (T, T) mask itself is never
    made.
    """
    from torch.nn.attention.flex_attention import BlockMask

    length = first_BT.shape[1]
    num_blocks = -(-length // BLOCK)
    begin_Q = torch.arange(num_blocks, device=first_BT.device) * BLOCK
    last_Q = (begin_Q + BLOCK - 1).clamp(max=length - 1)
    reaches_BQ, all_see_BQ = first_BT[:, begin_Q, None], first_BT[:, last_Q, None]
    # A key block is seen by some of a query block's positions, and by all of them. The last block
    # may be cut short, and is never called full: flex then looks at each position.
    seen_BQC = (begin_Q <= last_Q[:, None]) & (last_Q >= reaches_BQ)
    full_BQC = (begin_Q + BLOCK - 1 <= begin_Q[:, None]) & (begin_Q >= all_see_BQ)
    full_BQC &= (begin_Q + BLOCK <= length)[:, None]

    def sees(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k <= q) & (k >= first_BT[b, q])

    mask = BlockMask.from_kv_blocks(
        *_listed(seen_BQC & ~full_BQC),
        *_listed(full_BQC),
        BLOCK_SIZE=BLOCK,
        mask_mod=sees,
        seq_lengths=(length, length),
    )
    return Blocks(mask)


def _listed(wanted_BQC: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks are wanted, and their numbers first: (B, 1, Q) and (B, 1, Q, C), int32."""
    numbers_BQC = wanted_BQC.int().argsort(dim=-1, descending=True, stable=True)
    counts_BQ = wanted_BQC.sum(dim=-1)
    return counts_BQ[:, None].int(), numbers_BQC[:, None].int().contiguous()


# --- attention -------------------------------------------------------------------------------


def attend(q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, mask: Mask) -> Tensor:
    """(B, H, T, E): what each query sees, scaled by 1/√E; K divides H (Ainslie et al. 2023,
    arXiv:2305.13245)."""
    if isinstance(mask, Spans):
        return _attend_in_spans(q_BHTE, k_BKSE, v_BKSE, mask)
    if isinstance(mask, Blocks):
        q, k, v = _one_dtype(q_BHTE, k_BKSE, v_BKSE)
        with_gqa = q.shape[1] != k.shape[1]
        return _flex(q.is_cuda)(q, k, v, block_mask=mask.mask, enable_gqa=with_gqa)
    return F.scaled_dot_product_attention(
        q_BHTE,
        k_BKSE,
        v_BKSE,
        attn_mask=mask,
        is_causal=mask is None,
        enable_gqa=q_BHTE.shape[1] != k_BKSE.shape[1],
    )


def _attend_in_spans(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, spans: Spans) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    batch, _, length, _ = q_BHTE.shape
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in _one_dtype(q_BHTE, k_BKTE, v_BKTE))
    seen = varlen_attn(
        q,
        k,
        v,
        spans.starts_N,
        spans.starts_N,
        spans.longest,
        spans.longest,
        # To the left of itself a position sees window - 1; -1 stands for all.
        window_size=(-1 if spans.window is None else spans.window - 1, 0),
        enable_gqa=q.shape[1] != k.shape[1],
    )
    assert isinstance(seen, Tensor)
    return seen.view(batch, length, *seen.shape[1:]).transpose(1, 2)


def _one_dtype(*tensors: Tensor) -> list[Tensor]:
    """Autocast knows torch's own attention, but neither of these."""
    device = tensors[0].device.type
    if torch.is_autocast_enabled(device):
        return [x.to(torch.get_autocast_dtype(device)) for x in tensors]
    return [x.to(tensors[0].dtype) for x in tensors]


@functools.cache
def _flex(on_gpu: bool) -> Callable[..., Tensor]:
    """Uncompiled, it holds the scores of all pairs: good enough to be looked at on a CPU."""
    from torch.nn.attention.flex_attention import flex_attention

    chosen: Any = torch.compile(flex_attention) if on_gpu else flex_attention
    return chosen


@functools.cache
def _varlen_settings() -> frozenset[str]:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return frozenset()
    return frozenset(inspect.signature(varlen_attn).parameters)

"""Text from a model: ``python -m model.generate CHECKPOINT --prompt "…" [--chat]``.

In: an exported model and prompts. Out: new token ids, a batch at a time with a key-value cache;
from the command line, text as it comes.

Shape suffixes: B rows still growing, T prompt positions, V vocabulary.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from model import chat
from model.checkpoint import load_model
from model.language_model import LanguageModel


def generate(
    model: LanguageModel,
    prompts_ids: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    stop_ids: Iterable[int] = (),
) -> list[list[int]]:
    """New ids for each prompt, without the stop id that ended it.

    ``temperature`` 0 is greedy, and then a row does not depend on its companions. A row also ends
    where the model's ``max_seq_len`` does.
    """
    outputs: list[list[int]] = [[] for _ in prompts_ids]
    sampling = (temperature, top_k, top_p, seed)
    for row, token_id in stream(model, prompts_ids, max_new_tokens, *sampling, stop_ids=stop_ids):
        outputs[row].append(token_id)
    return outputs


@torch.no_grad()
def stream(
    model: LanguageModel,
    prompts_ids: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    stop_ids: Iterable[int] = (),
) -> Iterator[tuple[int, int]]:
    """``generate`` as it happens: (row, new id) pairs, step by step."""
    _check_sampling(temperature, top_k, top_p)
    room = [_room(model, prompt, max_new_tokens) for prompt in prompts_ids]
    if not prompts_ids or max(room) < 1:
        return
    device = model.embed.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    stop = set(stop_ids)
    tokens_BT, padding_B = _pad_left(prompts_ids, device)
    cache = model.make_cache(tokens_BT.shape[1] + max_new_tokens, padding_B)
    growing = list(range(len(prompts_ids)))
    num_new = 0
    while growing:
        # The head works on the last position only: the prompt's logits are nobody's business.
        logits_BV = model.head(model.hidden(tokens_BT, cache)[:, -1])
        next_B = sample(logits_BV, temperature, top_k, top_p, generator)
        num_new += 1
        going_on = []
        for index, (row, token_id) in enumerate(zip(growing, next_B.tolist(), strict=True)):
            if token_id in stop or room[row] < num_new:
                continue
            yield row, token_id
            if room[row] > num_new:
                going_on.append(index)
        if len(going_on) < len(growing):
            keep = torch.tensor(going_on, device=device, dtype=torch.long)
            cache.keep_rows(keep)
            next_B = next_B[keep]
            growing = [growing[index] for index in going_on]
        tokens_BT = next_B[:, None]


def sample(
    logits_BV: Tensor,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator,
) -> Tensor:
    """(B,) ids: the likeliest at temperature 0, else drawn from the distribution that is left after
    top-k, then top-p (Holtzman et al. 2020, arXiv:1904.09751, section 3.1)."""
    if temperature == 0:
        return logits_BV.argmax(dim=-1)
    logits_BV = logits_BV.float() / temperature
    if top_k is not None:
        kth_B1 = logits_BV.topk(min(top_k, logits_BV.shape[-1])).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < kth_B1, -torch.inf)
    if top_p is not None:
        logits_BV = _keep_nucleus(logits_BV, top_p)
    return torch.multinomial(logits_BV.softmax(dim=-1), 1, generator=generator)[:, 0]


def _keep_nucleus(logits_BV: Tensor, top_p: float) -> Tensor:
    """Keep the smallest set of likeliest tokens that holds ``top_p``; the first always stays."""
    sorted_BV, order_BV = logits_BV.sort(dim=-1, descending=True)
    probability_BV = sorted_BV.softmax(dim=-1)
    before_BV = probability_BV.cumsum(dim=-1) - probability_BV
    sorted_BV = sorted_BV.masked_fill(before_BV >= top_p, -torch.inf)
    sorted_BV[:, 0] = logits_BV.max(dim=-1).values
    return torch.empty_like(logits_BV).scatter_(-1, order_BV, sorted_BV)


def _check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if temperature < 0:
        raise ValueError(f"temperature must not be negative; got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1; got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1]; got {top_p}")


def _room(model: LanguageModel, prompt: Sequence[int], max_new_tokens: int) -> int:
    if not prompt:
        raise ValueError("a prompt needs at least one token: begin with <|bos|>")
    if len(prompt) > model.config.max_seq_len:
        raise ValueError(
            f"the prompt has {len(prompt)} tokens, the model reads {model.config.max_seq_len}: "
            "shorten it"
        )
    return min(max_new_tokens, model.config.max_seq_len - len(prompt))


def _pad_left(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    longest = max(map(len, prompts))
    padding = [longest - len(prompt) for prompt in prompts]
    rows = [[0] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)]
    return torch.tensor(rows, device=device), torch.tensor(padding, device=device)


# --- command line ------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Print a continuation, or with ``--chat`` an answer, as it is made."""
    arguments = _parser().parse_args(argv)
    try:
        for piece in _text_pieces(arguments):
            print(piece, end="", flush=True)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model.generate", description="Sample a model.")
    parser.add_argument("checkpoint", help="folder with model.safetensors and tokenizer.json")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--chat", action="store_true", help="the prompt is a user's message")
    parser.add_argument("--max-new-tokens", type=int, default=100)
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--top-k", type=int)
    parser.add_argument("--top-p", type=float)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _text_pieces(arguments: argparse.Namespace) -> Iterator[str]:
    model, tokenizer = load_model(arguments.checkpoint)
    if arguments.chat:
        prompt = chat.encode_prompt(tokenizer, [{"role": "user", "content": arguments.prompt}])
    else:
        prompt = [
            chat.special_id(tokenizer, chat.BOS),
            *chat.encode_text(tokenizer, arguments.prompt),
        ]
    stop_ids = {chat.special_id(tokenizer, token) for token in (chat.END, chat.EOS)}
    new_tokens = stream(
        model,
        [prompt],
        arguments.max_new_tokens,
        arguments.temperature,
        arguments.top_k,
        arguments.top_p,
        arguments.seed,
        stop_ids,
    )
    ids: list[int] = []
    shown = ""
    for _, token_id in new_tokens:
        ids.append(token_id)
        text = chat.decode(tokenizer, ids)
        if not text.endswith("\ufffd"):  # else a character is half way through its bytes
            yield text[len(shown) :]
            shown = text


if __name__ == "__main__":
    sys.exit(main())

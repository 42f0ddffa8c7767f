"""Text from a model: ``python -m model.generate CHECKPOINT --prompt "…" [--chat]``.

In: an exported model and prompts. Out: new token ids with their log-probabilities, a batch at a
time with a key-value cache; or text, up to a stop string; from the command line, text as it comes.

Shape suffixes: B rows still growing, T prompt positions, V vocabulary.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from model import chat
from model.checkpoint import load_model
from model.decoder import Decoder
from model.devices import pick_device
from model.language_model import Cache, LanguageModel
from model.sampling import GREEDY, Sampling, choose, draw
from model.static_cache import StaticCache, compiled
from model.text_stream import TextStream

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class NewToken(NamedTuple):
    """One token of one row, as it comes."""

    row: int
    token_id: int
    logprob: float
    """Nats, under the model's own distribution: at temperature 1, with nothing cut."""


@dataclass(slots=True)
class Answer:
    """What one prompt got: the text up to where a stop string begins, and all tokens that were
    made, a stop string's too, each with its log-probability (see ``NewToken``)."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


def generate(
    model: LanguageModel,
    prompts_ids: Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling = GREEDY,
    **options: Any,
) -> list[list[int]]:
    """New ids for each prompt, without the stop id that ended it; ``options`` are ``stream``'s."""
    outputs: list[list[int]] = [[] for _ in prompts_ids]
    for new in stream(model, prompts_ids, max_new_tokens, sampling, **options):
        outputs[new.row].append(new.token_id)
    return outputs


def generate_text(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts_ids: Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling = GREEDY,
    stop_strings: Sequence[str] = (),
    **options: Any,
) -> list[Answer]:
    """As ``generate``, with text, which also ends at the first of ``stop_strings``."""
    answers = [Answer() for _ in prompts_ids]
    what = (model, tokenizer, prompts_ids, max_new_tokens, sampling, stop_strings)
    for row, piece, new in stream_text(*what, **options):
        answers[row].text += piece
        if new:
            answers[row].token_ids.append(new.token_id)
            answers[row].logprobs.append(new.logprob)
    return answers


def stream_text(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts_ids: Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling = GREEDY,
    stop_strings: Sequence[str] = (),
    **options: Any,
) -> Iterator[tuple[int, str, NewToken | None]]:
    """``generate_text`` as it happens: (row, piece of text, the token that brought it). No piece
    ends within a character or holds a part of a stop string; what was held back for that, and is
    neither after all, comes last and without a token."""
    texts = [TextStream(tokenizer, stop_strings) for _ in prompts_ids]
    options["is_over"] = lambda row: texts[row].is_over
    for new in stream(model, prompts_ids, max_new_tokens, sampling, **options):
        yield new.row, texts[new.row].add(new.token_id), new
    for row, text in enumerate(texts):
        if rest := text.finish():
            yield row, rest, None


@torch.no_grad()
def stream(
    model: LanguageModel,
    prompts_ids: Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling = GREEDY,
    *,
    stop_ids: Iterable[int] = (),
    first_row: int = 0,
    compile: bool = False,
    is_over: Callable[[int], bool] = lambda row: False,
) -> Iterator[NewToken]:
    """``generate`` as it happens, step by step.

    A row does not depend on its companions: its sample is a function of the seed and of its number,
    counted from ``first_row``, so that prompts may come in batches of any size. It ends before one
    of ``stop_ids``, where the model's ``max_seq_len`` does, or once ``is_over(row)``, which is
    asked after each of its tokens has been taken. ``compile``: see ``static_cache.py``.

    Raises:
        ValueError: a prompt is empty or too long, or the model cannot be compiled for this.
    """
    room = [_room(model, prompt, max_new_tokens) for prompt in prompts_ids]
    if not prompts_ids or max(room) < 1:
        return
    tokens_BT, padding_B = _pad_left(prompts_ids, model.embed.weight.device)
    step, cache = _step_and_cache(model, tokens_BT.shape[1] + max(room), padding_B, compile)
    stop = set(stop_ids)
    growing = list(range(len(prompts_ids)))  # the row at each index of the batch
    ended = [available < 1 for available in room]
    logits_BV = _next_logits(model, tokens_BT, cache)
    for num_new in range(1, max(room) + 1):
        draws_B = [draw(sampling.seed, first_row + row, num_new) for row in growing]
        next_B = choose(logits_BV, sampling, draws_B)
        logprobs_B = _logprobs(logits_BV, next_B).tolist()
        for row, token_id, logprob in zip(growing, next_B.tolist(), logprobs_B, strict=True):
            if ended[row]:
                continue
            ended[row] = token_id in stop
            if not ended[row]:
                yield NewToken(row, token_id, logprob)
                ended[row] = num_new == room[row] or is_over(row)
        if all(ended):
            return
        keep = [index for index, row in enumerate(growing) if not ended[row]]
        if len(keep) < len(growing) and not compile:
            keep_B = torch.tensor(keep, device=next_B.device)
            cache.keep_rows(keep_B)
            next_B, growing = next_B[keep_B], [growing[index] for index in keep]
        logits_BV = step(model, next_B[:, None], cache)


def _step_and_cache(
    model: LanguageModel, slots: int, padding_B: Tensor, compile: bool
) -> tuple[Callable[[Any, Tensor, Any], Tensor], Cache]:
    if not compile:
        return _next_logits, model.make_cache(slots, padding_B)
    if not isinstance(model, Decoder):
        raise ValueError(f"compiled generation is for decoders, not {model.config.architecture}s")
    return compiled(_next_logits), StaticCache(model, slots, padding_B)


def _next_logits(model: LanguageModel, tokens_BT: Tensor, cache: Cache) -> Tensor:
    """(B, V): the head works on the last position only, and leaves the prompt's alone."""
    return model.head(model.hidden(tokens_BT, cache)[:, -1])


def _logprobs(logits_BV: Tensor, ids_B: Tensor) -> Tensor:
    logits_BV = logits_BV.float()
    return logits_BV.gather(1, ids_B[:, None])[:, 0] - logits_BV.logsumexp(dim=-1)


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
        _print_text(arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model.generate", description="Sample a model.")
    parser.add_argument("checkpoint", help="folder with model.safetensors and tokenizer.json")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--chat", action="store_true", help="the prompt is a user's message")
    parser.add_argument("--max-new-tokens", type=int, default=100)
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--top-k", type=int, help="keep so many of the likeliest tokens")
    parser.add_argument("--top-p", type=float, help="keep the likeliest tokens of this share")
    parser.add_argument("--min-p", type=float, help="keep tokens this share as likely as the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stop", action="append", default=[], help="end before this text; again")
    parser.add_argument("--logprobs", action="store_true", help="then list each token's, in nats")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the weights")
    parser.add_argument("--compile", action="store_true", help="compile the step: for long answers")
    return parser


def _print_text(arguments: argparse.Namespace) -> None:
    sampling = Sampling(
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        min_p=arguments.min_p,
        seed=arguments.seed,
    )
    model, tokenizer = load_model(arguments.checkpoint, pick_device(arguments.device))
    model = model.to(DTYPES[arguments.dtype])
    if arguments.chat:
        prompt = chat.encode_prompt(tokenizer, [{"role": "user", "content": arguments.prompt}])
    else:
        prompt = [
            chat.special_id(tokenizer, chat.BOS),
            *chat.encode_text(tokenizer, arguments.prompt),
        ]
    pieces = stream_text(
        *(model, tokenizer, [prompt], arguments.max_new_tokens, sampling, arguments.stop),
        stop_ids={chat.special_id(tokenizer, token) for token in (chat.END, chat.EOS)},
        compile=arguments.compile,
    )
    made: list[NewToken] = []
    for _, piece, new in pieces:
        print(piece, end="", flush=True)
        made += [new] if new else []
    print()
    if arguments.logprobs:
        for token in made:
            print(f"{token.logprob:9.4f}  {chat.decode(tokenizer, [token.token_id])!r}")


if __name__ == "__main__":
    sys.exit(main())

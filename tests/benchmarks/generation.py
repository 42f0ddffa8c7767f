"""Generation: our tokens a second against transformers' ``generate``, the same weights and prompts.

    python -m tests.benchmarks.generation [--preset llama-demo …] [--rounds 5] [--device cpu]

Greedy, with a key-value cache, one prompt and eight of unequal lengths; runs of the two take turns
in one process, and each figure is the median of the rounds. On a CPU what counts is CPU time; on a
GPU the clock, and there our compiled step runs too. Before anything is timed, both must say the
same tokens.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
import transformers

from model.architectures import model_preset
from model.decoder import Decoder
from model.generate import generate
from model.huggingface import to_huggingface

VOCAB_SIZE, MAX_SEQ_LEN = 8192, 1024
PROMPT_TOKENS = (64, 17, 40, 5, 61, 33, 8, 52)
Run = Callable[[], list[list[int]]]


def main() -> None:
    """Print a line of JSON for each model and batch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for preset in arguments.preset or ["llama-demo", "llama-small"]:
        torch.manual_seed(0)
        config = model_preset(preset, VOCAB_SIZE, MAX_SEQ_LEN)
        model = Decoder(config).eval()  # type: ignore[arg-type]
        with torch.no_grad():  # clear winners, so that rounding does not decide
            for parameter in model.parameters():
                parameter.mul_(3 if parameter.ndim > 1 else 1)
        theirs = _theirs(model).to(arguments.device)
        model = model.to(arguments.device)
        for num_prompts in (1, len(PROMPT_TOKENS)):
            runs = _runs(model, theirs, num_prompts, arguments.new_tokens, arguments.device)
            print(
                json.dumps({"model": preset, "prompts": num_prompts, **_compare(runs, arguments)})
            )


def _theirs(model: Decoder) -> transformers.PreTrainedModel:
    config, state = to_huggingface(model)
    kind = getattr(transformers, config["architectures"][0])
    theirs = kind(kind.config_class(**config)).eval()
    theirs.load_state_dict(state)
    return theirs


def _runs(
    model: Decoder,
    theirs: transformers.PreTrainedModel,
    num_prompts: int,
    new_tokens: int,
    device: str,
) -> dict[str, Run]:
    generator = torch.Generator().manual_seed(num_prompts)
    prompts = [
        torch.randint(1, VOCAB_SIZE, (length,), generator=generator).tolist()
        for length in PROMPT_TOKENS[:num_prompts]
    ]
    longest = max(map(len, prompts))
    ids_BT = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=device)
    real_BT = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    settings = {"max_new_tokens": new_tokens, "do_sample": False, "eos_token_id": None}

    def run_theirs() -> list[list[int]]:
        with torch.no_grad():
            made = theirs.generate(
                ids_BT, attention_mask=real_BT.to(device), pad_token_id=0, **settings
            )
        return made[:, longest:].tolist()

    runs: dict[str, Run] = {
        "transformers": run_theirs,
        "ours": lambda: generate(model, prompts, new_tokens),
    }
    if device != "cpu":
        runs["ours-compiled"] = lambda: generate(model, prompts, new_tokens, compile=True)
    return runs


def _compare(runs: dict[str, Run], arguments: argparse.Namespace) -> dict[str, object]:
    clock = time.process_time if arguments.device == "cpu" else time.perf_counter
    said = {name: run() for name, run in runs.items()}  # warm, and compiled
    for name, answers in said.items():
        assert answers == said["transformers"], f"{name} says something else"
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(arguments.rounds):
        for name, run in runs.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    num_tokens = sum(map(len, said["ours"]))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    speeds = {f"{name}_tokens_per_second": round(num_tokens / m) for name, m in medians.items()}
    ratios = [t / o for t, o in zip(seconds["transformers"], seconds["ours"], strict=True)]
    return {
        **speeds,
        "times_as_fast": {n: round(medians["transformers"] / m, 2) for n, m in medians.items()},
        "range_of_ours": [round(min(ratios), 2), round(max(ratios), 2)],
    }


if __name__ == "__main__":
    main()

"""What a model says while it is being trained.

In: a model in training, and prompts. Out: each prompt continued, once by the likeliest tokens and
once by a draw. It draws from a generator of its own and leaves the model as it was: training with
samples ends with the same bits as training without.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from tokenizers import Tokenizer

from model import chat
from model.generate import generate
from model.job import TrainJob
from model.language_model import LanguageModel
from model.sampling import Sampling

TEMPERATURE, TOP_P = 0.8, 0.95
_MADE_FOR_STEPS = ("hidden", "stack", "run_block")  # that compute.py may replace


def write_samples(
    model: LanguageModel, tokenizer: Tokenizer, job: TrainJob
) -> list[dict[str, str]]:
    """``{"prompt": …, "greedy": …, "sampled": …}`` for each of the job's prompts.

    In sft and dpo a prompt is a user's message, else the beginning of a document ("": nothing yet).
    A prompt that leaves the model no room loses its own beginning.
    """
    prompts, num_tokens = job.sample_prompts, job.sample_tokens
    encode = _asked if job.objective in ("sft", "dpo") else _begun
    room = max(1, model.config.max_seq_len - num_tokens)
    ids = [encode(tokenizer, prompt)[-room:] for prompt in prompts]
    stop = {chat.special_id(tokenizer, token) for token in (chat.END, chat.EOS)}
    sampling = Sampling(temperature=TEMPERATURE, top_p=TOP_P, seed=job.seed)
    with _resting(model):
        greedy = generate(model, ids, num_tokens, stop_ids=stop)
        drawn = generate(model, ids, num_tokens, sampling, stop_ids=stop)
    return [
        {
            "prompt": prompt,
            "greedy": chat.decode(tokenizer, likeliest),
            "sampled": chat.decode(tokenizer, other),
        }
        for prompt, likeliest, other in zip(prompts, greedy, drawn, strict=True)
    ]


@contextmanager
def _resting(model: LanguageModel) -> Iterator[None]:
    """Without dropout, and as the class has it: what was compiled for a step's shapes would be
    compiled anew for every length."""
    was_training, own = model.training, model.__dict__
    set_aside = {name: own.pop(name) for name in _MADE_FOR_STEPS if name in own}
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
        own.update(set_aside)


def _begun(tokenizer: Tokenizer, prompt: str) -> list[int]:
    return [chat.special_id(tokenizer, chat.BOS), *chat.encode_text(tokenizer, prompt)]


def _asked(tokenizer: Tokenizer, prompt: str) -> list[int]:
    return chat.encode_prompt(tokenizer, [{"role": "user", "content": prompt}])

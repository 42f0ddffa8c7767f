"""A pipeline small enough for tests: a little package of documented code, a very small model."""

from pathlib import Path

from flows.params import Params, parse_model, with_changes
from flows.presets import DEMO

TOPICS = ("path", "file", "queue", "socket", "thread", "colour", "number", "string", "date", "tree")
VERBS = ("Open", "Close", "Count", "Sort", "Merge", "Split", "Copy", "Move", "Find", "Draw")

CHANGES = [
    "name=small-test",
    "sources=[]",
    "filter.gopher_quality.min_words=5",
    "filter.min_language_score=0.0",
    "filter.gopher_quality.min_stop_words=0",
    "dedup.min_similarity=1",
    "classifiers.quality.reference_sources=[]",
    "classify.drop_lowest_share=0.0",
    "mix.weights=[]",
    "mix.token_budget=5000",
    "mix.validation_share=0.2",
    "tokenizer.vocab_size=512",
    "regmix.num_runs=10",
    "regmix.steps=3",
    "regmix.batch_size=2",
    "regmix.seq_len=32",
    "regmix.eval_tokens=256",
    "regmix.num_simulated=500",
    "instruct.num_eval=20",
    "instruct.min_answer_chars=5",
    "train.steps=12",
    "train.warmup_steps=4",
    "train.batch_size=4",
    "train.micro_batch_size=4",
    "train.seq_len=64",
    "train.eval_every_steps=6",
    "sft.steps=4",
    "sft.warmup_steps=2",
    "sft.batch_size=4",
    "sft.max_tokens=64",
    "preferences.max_prompts=40",
    "preferences.samples_per_prompt=2",
    "preferences.min_margin=0.0",
    "preferences.max_new_tokens=8",
    "dpo.steps=3",
    "dpo.warmup_steps=1",
    "dpo.batch_size=2",
    "dpo.max_tokens=64",
    "evaluate.max_questions=20",
    "evaluate.max_answers=4",
    "evaluate.max_new_tokens=8",
    "evaluate.max_validation_tokens=500",
]


def write_package(folder: Path) -> None:
    """Twenty modules of documented functions, and notes in prose."""
    for number, topic in enumerate(TOPICS * 2):
        module = folder / "code" / f"{topic}{number}.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(
            "\n\n".join(
                f"def {verb.lower()}_{topic}(value):\n"
                f'    """{verb} the {topic} number {number} and return the outcome.\n\n'
                f'    The {topic} must be there."""\n'
                f"    return value + {number}"
                for verb in VERBS
            )
        )
        note = folder / "notes" / f"{topic}{number}.md"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(
            f"# About the {topic}\n\nThis is the note on the {topic} that has the number {number}. "
            f"It is kept with the others, and of it we say that a {topic} is a thing to be used. "
            "We have tried it with care, and have found that it does what it is asked to do.\n"
        )


def small_params(folder: Path, *changes: str) -> Params:
    """Parameters over the package in ``folder``."""
    values = with_changes(DEMO.model_dump(mode="json"), CHANGES)
    values["sources"] = [
        {"name": "code", "type": "files", "kind": "code", "paths": [str(folder / "code")]},
        {"name": "notes", "type": "files", "kind": "prose", "paths": [str(folder / "notes")]},
    ]
    params: Params = parse_model(Params, with_changes(values, changes))
    return params

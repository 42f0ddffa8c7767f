"""Named full configurations: a demo for any machine, and two to start one's own work from."""

import sysconfig

from flows.params import Params
from tasks.classifiers.config import ClassifiersConfig, QualityConfig
from tasks.classify.config import ClassifyConfig
from tasks.common.mix_table import MixWeight
from tasks.crawl.config import SourceConfig
from tasks.dpo.config import DpoConfig
from tasks.evaluate.config import EvaluateConfig
from tasks.filter.config import FilterConfig
from tasks.filter.thresholds import GopherQuality
from tasks.instruct.config import InstructConfig
from tasks.mix.config import MixConfig
from tasks.preferences.config import PreferencesConfig
from tasks.pretrain.config import PretrainConfig
from tasks.sft.config import SftConfig
from tasks.tokenizer.config import TokenizerConfig

STDLIB = sysconfig.get_paths()["stdlib"]

PYTHON_DOCS = SourceConfig(
    name="python-docs",
    type="python-docs",
    kind="prose",
    domain="documentation",
    licence="PSF-2.0",
    exclude=["/topics/"],
)
PYTHON_TOPICS = SourceConfig(
    name="python-topics",
    type="python-docs",
    kind="prose",
    domain="reference",
    licence="PSF-2.0",
    include=["/topics/"],
)
PYTHON_CODE = SourceConfig(
    name="python-code",
    type="files",
    kind="code",
    domain="code",
    licence="PSF-2.0",
    paths=[STDLIB],
    patterns=["*.py"],
    exclude=[r"(^|/)(site-packages|test|tests|idlelib|turtledemo|lib2to3|pydoc_data)/"],
)

# API pages are lists of names by nature: the rules made for running text are off or wider.
DEMO_FILTER = FilterConfig(
    recipes=["gopher-quality", "code"],
    gopher_quality=GopherQuality(max_mean_word_chars=12.0, min_alphabetic_words=0.6),
)

DEMO = Params(
    name="demo",
    sources=[PYTHON_DOCS, PYTHON_TOPICS, PYTHON_CODE],
    filter=DEMO_FILTER,
    classifiers=ClassifiersConfig(quality=QualityConfig(reference_sources=["python-topics"])),
    classify=ClassifyConfig(drop_lowest_share=0.02),
    mix=MixConfig(
        weights=[
            MixWeight(group="python-docs", weight=0.45),
            MixWeight(group="python-code", weight=0.45),
            MixWeight(group="python-topics", weight=0.10),
        ],
        token_budget=2_000_000,
        bytes_per_token=3.4,
    ),
    tokenizer=TokenizerConfig(vocab_size=4096),
    train=PretrainConfig(
        model="llama-demo",
        steps=360,
        batch_size=16,
        micro_batch_size=4,
        seq_len=256,
        lr=3e-3,
        warmup_steps=40,
        eval_every_steps=100,
        eval_batches=8,
    ),
    sft=SftConfig(steps=350, batch_size=32, micro_batch_size=16, lr=1e-3),
    dpo=DpoConfig(steps=80, batch_size=16, micro_batch_size=8),
    evaluate=EvaluateConfig(max_validation_tokens=40_000),
)

# The user's own web archives and instruction files; what is not there is said by name.
OWN_PAGES = SourceConfig(name="pages", type="warc", paths=["data/pages/*.warc.gz"])
OWN_TEXTS = InstructConfig(
    origin="files",
    num_eval=200,
    sft_files=["data/sft/*.jsonl"],
    preference_files=["data/preferences/*.jsonl"],
    multiple_choice_files=["data/multiple-choice/*.jsonl"],
)
SMALL = Params(
    name="small",
    sources=[OWN_PAGES],
    instruct=OWN_TEXTS,
    preferences=PreferencesConfig(origin="given"),
    mix=MixConfig(token_budget=600_000_000),
    tokenizer=TokenizerConfig(vocab_size=16_384, max_train_bytes=500_000_000),
    train=PretrainConfig(
        model="llama-small",
        steps=9_000,
        batch_size=64,
        micro_batch_size=32,
        seq_len=1_024,
        lr=1e-3,
        warmup_steps=300,
        eval_every_steps=500,
    ),
    sft=SftConfig(steps=1_000, batch_size=64, micro_batch_size=16, max_tokens=1_024, lr=1e-4),
    dpo=DpoConfig(steps=500, batch_size=64, micro_batch_size=8, max_tokens=1_024, lr=5e-6),
)
BASE = SMALL.model_copy(
    update={
        "name": "base",
        "mix": MixConfig(token_budget=2_600_000_000),
        "tokenizer": TokenizerConfig(vocab_size=32_768, max_train_bytes=2_000_000_000),
        "train": PretrainConfig(
            model="llama-base",
            steps=10_000,
            batch_size=256,
            micro_batch_size=16,
            seq_len=1_024,
            lr=6e-4,
            warmup_steps=700,
            eval_every_steps=500,
        ),
    }
)
PRESETS = {preset.name: preset for preset in (DEMO, SMALL, BASE)}

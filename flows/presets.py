"""Named full configurations: a demo for any machine, and two to start one's own work from."""

import sysconfig

from flows.params import Params
from tasks.crawl.config import SourceConfig
from tasks.filter.config import FilterConfig
from tasks.mix.config import MixConfig, MixWeight
from tasks.pretrain.config import PretrainConfig
from tasks.tokenizer.config import TokenizerConfig

STDLIB = sysconfig.get_paths()["stdlib"]

PYTHON_DOCS = SourceConfig(
    name="python-docs",
    type="python-docs",
    kind="prose",
    domain="documentation",
    licence="PSF-2.0",
    delay_seconds=0,
    max_connections_per_host=4,
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
    fineweb=False,
    gopher_repetition=False,
    max_mean_word_chars=12.0,
    min_alphabetic_words=0.6,
    min_language_score=0.1,
)

DEMO = Params(
    name="demo",
    sources=[PYTHON_DOCS, PYTHON_CODE],
    filter=DEMO_FILTER,
    mix=MixConfig(
        weights=[
            MixWeight(group="python-docs", weight=0.5),
            MixWeight(group="python-code", weight=0.5),
        ],
        token_budget=4_000_000,
        max_epochs=10.0,
        bytes_per_token=3.5,
    ),
    tokenizer=TokenizerConfig(vocab_size=4096),
    train=PretrainConfig(model="llama-demo", steps=500, batch_size=16, seq_len=256),
)
PRESETS = {"demo": DEMO}

"""The engine's small jobs, for tests that run where CUDA is.

On a machine that holds torch, numpy, safetensors, tokenizers and pytest alone:
``python -m pytest -c /dev/null --rootdir . --confcutdir tests/gpu tests/gpu``.
"""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.unit.model.conftest import (  # noqa: F401
    base_model,
    data,
    make_job,
    replace,
    tiny,
    tokenizer,
    tokenizer_path,
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs CUDA, which torch does not see here"))

"""The engine runs where there is torch, numpy, safetensors, tokenizers and nothing else of ours."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
FORBIDDEN = ["prefect", "pydantic", "pyarrow", "tasks", "flows", "transformers", "trl", "fsspec"]

_IMPORT_ALL = """
import pkgutil, sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {forbidden!r}:
            raise ImportError(f"model must not import {{name}}")
sys.meta_path.insert(0, Wall())
import model
for module in pkgutil.iter_modules(model.__path__):
    __import__(f"model.{{module.name}}")
"""

_PARENT_ONLY = """
import sys
import model.process
assert not {"torch", "numpy"} & set(sys.modules)
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_module_imports_behind_the_wall():
    run(_IMPORT_ALL.format(forbidden=FORBIDDEN))


def test_the_parents_end_needs_no_torch():
    run(_PARENT_ONLY)

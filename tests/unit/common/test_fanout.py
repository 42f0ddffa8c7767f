"""Workers are fresh processes that know nothing of the program that started them."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, sys
from pathlib import Path
from tasks.common.fanout import local_executor

Path(sys.argv[1], f"{os.getpid()}").touch()  # whoever runs this module leaves a trace

if __name__ == "__main__":
    with local_executor(2) as executor:
        pids = {executor.submit(os.getpid).result() for _ in range(8)}
        assert os.getpid() not in pids
        assert sys.modules["__main__"].__file__ == __file__
        print(sum(executor.map(len, ["a", "bc"])))
"""


def test_the_program_is_not_run_again_in_its_workers(tmp_path: Path):
    script, traces = tmp_path / "program.py", tmp_path / "traces"
    script.write_text(PROGRAM)
    traces.mkdir()
    done = subprocess.run(
        [sys.executable, str(script), str(traces)],
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "3", done.stderr
    assert len(list(traces.iterdir())) == 1

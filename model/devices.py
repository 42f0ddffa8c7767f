"""Which device a process computes on.

In: a name. Out: a torch device of this process's own, or a ValueError that says what there is.
"""

import os
import re

import torch


def pick_device(name: str) -> torch.device:
    """``"auto"``: a GPU when there is one, this process's own when there are several."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N; got {name!r}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    elif name.startswith("cuda:") and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            f'device {name!r} is one GPU for several processes; "cuda" is each its own'
        )
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f'device {name!r}: torch sees no GPU here; use "auto" or "cpu"')
        num_devices = torch.cuda.device_count()
        if device.index >= num_devices:
            raise ValueError(f"device {name!r}: torch sees {num_devices} GPUs, counted from 0")
        torch.cuda.set_device(device)
    return device

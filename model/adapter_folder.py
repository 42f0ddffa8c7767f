"""Adapters beside, in and out of a model: ``python -m model.adapter_folder merge|unmerge …``.

In: an exported model of ours, and for ``merge`` a folder that the peft library has written. Out: an
exported model: with the LoRA merged into its weights and kept in ``adapter/``; or as it was before,
with nothing beside it.
"""

import argparse
import sys
from pathlib import Path

from model.checkpoint import ADAPTER_NAME, export_model, load_model
from model.decoder import Decoder
from model.peft_format import load_peft, unmerge


def merge_adapter(source: str | Path, adapter: str | Path, target: str | Path) -> Path:
    """``source`` with the LoRA in ``adapter`` merged into it; gives back ``target``.

    Raises:
        ValueError: the adapter is not plain LoRA or for another model, or ``target`` is there.
    """
    model = _decoder(source, target)
    load_peft(model, Path(adapter))
    return export_model(target, model, Path(source) / "tokenizer.json")


def unmerge_adapter(source: str | Path, target: str | Path) -> Path:
    """``source`` without the LoRA that it keeps in ``adapter/``; gives back ``target``.

    Raises:
        ValueError: no LoRA was merged into ``source``, or ``target`` is there.
    """
    adapter = Path(source) / ADAPTER_NAME
    if not adapter.is_dir():
        raise ValueError(f"{source} has no {ADAPTER_NAME}/: nothing was merged into it")
    model = unmerge(_decoder(source, target), adapter)
    return export_model(target, model, Path(source) / "tokenizer.json")


def _decoder(source: str | Path, target: str | Path) -> Decoder:
    if Path(target).exists():
        raise ValueError(f"{target} is there already; name a new folder")
    model, _ = load_model(source)
    if not isinstance(model, Decoder):
        raise ValueError(f"LoRA works on decoders, not on {model.config.architecture}s")
    return model


def main(argv: list[str] | None = None) -> int:
    """Merge or unmerge one adapter."""
    parser = argparse.ArgumentParser(prog="python -m model.adapter_folder")
    commands = parser.add_subparsers(dest="command", required=True)
    merge = commands.add_parser("merge", help="add a LoRA to a model's weights")
    merge.add_argument("source", help="an exported model")
    merge.add_argument("adapter", help="a folder that peft has written, or adapter/ of ours")
    merge.add_argument("target", help="the folder to write; it must not exist")
    take = commands.add_parser("unmerge", help="take the LoRA in adapter/ out of a model's weights")
    take.add_argument("source", help="an exported model with an adapter/")
    take.add_argument("target", help="the folder to write; it must not exist")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "merge":
            merge_adapter(arguments.source, arguments.adapter, arguments.target)
        else:
            unmerge_adapter(arguments.source, arguments.target)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

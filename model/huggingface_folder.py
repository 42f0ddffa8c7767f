"""Hugging Face folders: ``python -m model.huggingface_folder import|export FROM TO``.

In: a folder that transformers writes (``config.json``, safetensors in one file or several,
``tokenizer.json``), or an exported model of ours. Out: the other. Files of pickled weights are
refused: opening one runs whatever is in it.

A tokenizer that comes in gets our special tokens. Its own begin and end of text are renamed, so
they keep their ids and what the model knows of them; the others are new, with the mean of all
embeddings, or where a model has but one token for both ends (GPT-2), with that token's.
"""

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from model import chat
from model.checkpoint import export_model, load_model
from model.decoder import Decoder
from model.huggingface import config_from_huggingface, from_huggingface, to_huggingface
from model.language_model import LanguageModel, make_model
from model.masking import mask_token
from model.peft_format import load_peft

INDEX_NAME = "model.safetensors.index.json"
MAX_SHARD_BYTES = 5_000_000_000
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TIED = ("lm_head.weight", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
CHAT_TEMPLATE = (
    f"{{{{ '{chat.BOS}' }}}}{{% for message in messages %}}"
    f"{{{{ '<|' + message['role'] + '|>' + message['content'] + '{chat.END}' }}}}"
    f"{{% endfor %}}{{% if add_generation_prompt %}}{{{{ '{chat.ASSISTANT}' }}}}{{% endif %}}"
)


def import_folder(
    source: str | Path, target: str | Path, adapter: str | Path | None = None
) -> Path:
    """Write the model in a Hugging Face folder as an exported model of ours; gives back ``target``.

    ``adapter``: a folder with a LoRA that the peft library has written for that model, which is
    merged into it, and kept beside it in ``adapter/``.

    Raises:
        ValueError: a file is missing, or an architecture or setting is one we do not have.
    """
    source, target = Path(source), Path(target)
    if target.exists():
        raise ValueError(f"{target} is there already; name a new folder")
    config = _read_json(source / "config.json")
    config_from_huggingface(config)  # before gigabytes are read
    model = from_huggingface(config, read_weights(source))
    tokenizer, num_old, like = adopt_tokenizer(source, config)
    model = _with_rows(model, tokenizer, num_old, like)
    if adapter is not None:
        if not isinstance(model, Decoder):
            raise ValueError(f"LoRA works on decoders, not on {model.config.architecture}s")
        load_peft(model, Path(adapter))
    target.parent.mkdir(parents=True, exist_ok=True)
    saved = target.with_name(f".{target.name}.tokenizer.json")
    tokenizer.save(str(saved))
    try:
        return export_model(target, model, saved)
    finally:
        saved.unlink()


def export_folder(
    source: str | Path,
    target: str | Path,
    *,
    dtype: str = "float32",
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> Path:
    """Write an exported model of ours as a folder that transformers loads; gives back ``target``.

    Raises:
        ValueError: transformers has no architecture for the model, or ``target`` is there already.
    """
    target = Path(target)
    if target.exists():
        raise ValueError(f"{target} is there already; name a new folder")
    model, tokenizer = load_model(source)
    config, state = to_huggingface(model)
    partial = target.with_name(f".{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = {name: tensor.to(DTYPES[dtype]).contiguous() for name, tensor in state.items()}
    if config["tie_word_embeddings"]:
        for name in TIED:
            weights.pop(name, None)
    _write_weights(partial, weights, max_shard_bytes)
    ids = {name: chat.special_id(tokenizer, name) for name in chat.SPECIAL_TOKENS}
    said = {
        "bos_token_id": ids[chat.BOS],
        "eos_token_id": ids[chat.EOS],
        "pad_token_id": ids[chat.PAD],
    }
    _write_json(partial / "config.json", {**config, **said, "torch_dtype": dtype})
    ends = {**said, "eos_token_id": [ids[chat.EOS], ids[chat.END]]}
    _write_json(partial / "generation_config.json", {"do_sample": False, **ends})
    _write_tokenizer(partial, tokenizer, model)
    partial.replace(target)
    return target


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder, from one safetensors file or those that its index names."""
    index, whole = folder / INDEX_NAME, folder / "model.safetensors"
    if index.exists():
        names = sorted(set(_read_json(index)["weight_map"].values()))
    elif whole.exists():
        names = [whole.name]
    else:
        raise ValueError(
            f"{folder} has no model.safetensors and no {INDEX_NAME}; weights in other formats are "
            "written anew by transformers' save_pretrained(folder, safe_serialization=True)"
        )
    state: dict[str, Tensor] = {}
    for name in names:
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{folder}: {INDEX_NAME} names {name}, which is not there")
        try:
            state |= load_file(path)
        except Exception as error:  # safetensors has an exception of its own for damaged files
            raise ValueError(f"{path} is damaged: {error}") from error
    return state


# --- tokenizers ----------------------------------------------------------------------------------


def adopt_tokenizer(
    folder: Path, config: Mapping[str, Any]
) -> tuple[Tokenizer, int, dict[str, str]]:
    """A folder's tokenizer with our special tokens; how many tokens it had before; and which new
    one is to begin as which old one.

    Raises:
        ValueError: there is no ``tokenizer.json``, or it is damaged.
    """
    path = folder / "tokenizer.json"
    values = _read_json(path)
    try:
        theirs = Tokenizer.from_str(json.dumps(values))
    except Exception as error:  # the library raises bare Exception
        raise ValueError(f"{path} is not a tokenizer: {error}") from error
    renamed = _ends_of_text(folder, config, theirs)
    taken = {token for token in chat.SPECIAL_TOKENS if theirs.token_to_id(token) is not None}
    new_names = {old: new for new, old in renamed.items() if old not in taken}
    tokenizer = Tokenizer.from_str(json.dumps(_renamed(values, new_names)))
    missing = [t for t in chat.SPECIAL_TOKENS if tokenizer.token_to_id(t) is None]
    num_old = _num_ids(tokenizer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in missing])
    had_one_end = chat.BOS in missing and chat.EOS not in missing
    like = {chat.BOS: chat.EOS} if had_one_end else {}
    return chat.prepare_tokenizer(tokenizer), num_old, like


def _num_ids(tokenizer: Tokenizer) -> int:
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def _ends_of_text(folder: Path, config: Mapping[str, Any], theirs: Tokenizer) -> dict[str, str]:
    """Our names for the folder's own begin and end of text: ``{"<|eos|>": "</s>", …}``.

    A token that is both is the end of a text, for that is what it was trained as most often.
    """
    settings_path = folder / "tokenizer_config.json"
    settings = _read_json(settings_path) if settings_path.exists() else {}
    found: dict[str, str] = {}
    for ours, name, of_bert in ((chat.EOS, "eos", "sep"), (chat.BOS, "bos", "cls")):
        token: Any = settings.get(f"{name}_token") or settings.get(f"{of_bert}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if token is None:
            token_id = config.get(f"{name}_token_id")
            token_id = token_id[0] if isinstance(token_id, list) else token_id
            token = theirs.id_to_token(token_id) if token_id is not None else None
        is_known = token is not None and theirs.token_to_id(token) is not None
        if is_known and token not in found.values():
            found[ours] = token
    return found


def _renamed(values: Any, names: Mapping[str, str]) -> Any:
    """A tokenizer's JSON with some tokens called otherwise; merges do not hold special tokens."""
    if isinstance(values, str):
        return names.get(values, values)
    if isinstance(values, list):
        return [_renamed(value, names) for value in values]
    if isinstance(values, dict):
        return {
            names.get(key, key): value if key == "merges" else _renamed(value, names)
            for key, value in values.items()
        }
    return values


@torch.no_grad()
def _with_rows(
    model: LanguageModel, tokenizer: Tokenizer, num_old: int, like: Mapping[str, str]
) -> LanguageModel:
    """The model with an embedding, and logit, for each token of the tokenizer; the new ones' rows
    are set, also where the model had rows to spare, for nothing has been learned in those."""
    needed = _num_ids(tokenizer)
    if needed > model.config.vocab_size:
        model = _grown(model, needed)
    matrices = [model.embed.weight]
    if not model.config.tie_embeddings:
        matrices.append(model.to_logits.weight)
    for matrix in matrices:
        matrix[num_old:needed] = matrix[:num_old].mean(dim=0)
        for token, other in like.items():
            row, source = (chat.special_id(tokenizer, name) for name in (token, other))
            matrix[row] = matrix[source]
    return model


def _grown(model: LanguageModel, vocab_size: int) -> LanguageModel:
    grown = make_model(dataclasses.replace(model.config, vocab_size=vocab_size)).eval()
    state = grown.state_dict()
    for name, tensor in model.state_dict().items():
        if len(tensor) < len(state[name]):
            state[name][: len(tensor)] = tensor
        else:
            state[name] = tensor
    grown.load_state_dict(state)
    return grown


def _write_tokenizer(folder: Path, tokenizer: Tokenizer, model: LanguageModel) -> None:
    """``tokenizer.json``, beginning a text as pretraining did, and what transformers asks of it.
    An encoder reads whole texts: it is shown their ends, too."""
    is_encoder = model.config.architecture == "encoder"
    values = json.loads(tokenizer.to_str())
    begin = [{"SpecialToken": {"id": chat.BOS, "type_id": 0}}]
    ends = [{"SpecialToken": {"id": chat.EOS, "type_id": 0}}] if is_encoder else []
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    values["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [*begin, first, *ends],
        "pair": [*begin, first, second, *ends],
        "special_tokens": {
            name: {"id": name, "ids": [chat.special_id(tokenizer, name)], "tokens": [name]}
            for name in (chat.BOS, chat.EOS)
        },
    }
    _write_json(folder / "tokenizer.json", values)
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": chat.BOS,
            "eos_token": chat.EOS,
            "pad_token": chat.PAD,
            **({"mask_token": mask_token(tokenizer)} if is_encoder else {}),
            "model_max_length": model.config.max_seq_len,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    )


# --- files ---------------------------------------------------------------------------------------


def _write_weights(folder: Path, weights: Mapping[str, Tensor], max_shard_bytes: int) -> None:
    """One file, or several with an index when they are too large for one."""
    shards: list[dict[str, Tensor]] = [{}]
    num_bytes = 0
    for name, tensor in weights.items():
        if shards[-1] and num_bytes + tensor.nbytes > max_shard_bytes:
            shards.append({})
            num_bytes = 0
        shards[-1][name] = tensor
        num_bytes += tensor.nbytes
    metadata = {"format": "pt"}  # transformers asks for it
    if len(shards) == 1:
        save_file(shards[0], folder / "model.safetensors", metadata)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file_name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / file_name, metadata)
        weight_map |= dict.fromkeys(shard, file_name)
    total = sum(tensor.nbytes for tensor in weights.values())
    _write_json(folder / INDEX_NAME, {"metadata": {"total_size": total}, "weight_map": weight_map})


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path.parent} has no readable {path.name}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Import or export one folder."""
    parser = argparse.ArgumentParser(prog="python -m model.huggingface_folder")
    parser.add_argument("direction", choices=["import", "export"])
    parser.add_argument("source", help="the folder to read")
    parser.add_argument("target", help="the folder to write; it must not exist")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="export: of the weights")
    parser.add_argument("--max-shard-bytes", type=int, default=MAX_SHARD_BYTES)
    parser.add_argument("--adapter", help="import: a folder of peft's, a LoRA to merge")
    arguments = parser.parse_args(argv)
    try:
        if arguments.direction == "import":
            import_folder(arguments.source, arguments.target, arguments.adapter)
        else:
            export_folder(
                arguments.source,
                arguments.target,
                dtype=arguments.dtype,
                max_shard_bytes=arguments.max_shard_bytes,
            )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

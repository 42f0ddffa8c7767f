"""What every configuration of the engine is: a frozen dataclass that goes to JSON and back.

In: keyword arguments, or a dictionary read from a JSON file. Out: the configuration, or a
ValueError that names what is wrong, before any tensor exists.
"""

import dataclasses
import difflib
import types
import typing
from typing import Any, Literal, Self


class JsonConfig:
    """Round trip between a frozen dataclass and plain JSON values."""

    def to_json_dict(self) -> dict[str, Any]:
        """Every field, nested configurations and tuples included, as plain JSON values."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {f.name: _plain(getattr(self, f.name)) for f in fields}

    @classmethod
    def from_json_dict(cls, data: dict[str, Any]) -> Self:
        """Build from plain values; an unknown, missing or ill-typed key is named."""
        if not isinstance(data, dict):
            raise ValueError(f"{cls.__name__} must be a JSON object, got {data!r}")
        known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                meant = "".join(f", did you mean {name!r}?" for name in near)
                names = ", ".join(known)
                raise ValueError(f"{cls.__name__}: unknown key {key!r}{meant}; known: {names}")
        for name, f in known.items():
            if name not in data and _is_required(f):
                raise ValueError(f"{cls.__name__}: missing key {name!r}")
        hints = typing.get_type_hints(cls)
        return cls(**{k: _typed(hints[k], v, f"{cls.__name__}.{k}") for k, v in data.items()})


def require(holds: bool, rule: str, value: object) -> None:
    """A ValueError that says the rule and the value, unless the rule holds."""
    if not holds:
        raise ValueError(f"{rule}; got {value!r}")


def _is_required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _plain(value: Any) -> Any:
    if isinstance(value, JsonConfig):
        return value.to_json_dict()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def _typed(hint: Any, value: Any, where: str) -> Any:
    """``value`` as ``hint`` asks: nested objects built, whole numbers taken for floats."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _typed_union(args, value, where)
    if origin is Literal:
        if value not in args:
            raise ValueError(f"{where} must be one of {', '.join(map(repr, args))}; got {value!r}")
        return value
    if origin is list and isinstance(value, list):
        return [_typed(args[0], v, where) for v in value]
    if origin is tuple and isinstance(value, list | tuple) and args[-1] is Ellipsis:
        return tuple(_typed(args[0], v, where) for v in value)
    if origin is tuple and isinstance(value, list | tuple) and len(value) == len(args):
        return tuple(_typed(a, v, where) for a, v in zip(args, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {k: _typed(args[1], v, f"{where}[{k!r}]") for k, v in value.items()}
    if isinstance(hint, type) and issubclass(hint, JsonConfig) and isinstance(value, dict):
        return hint.from_json_dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is None and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{where} must be {getattr(hint, '__name__', hint)}; got {value!r}")


def _typed_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    concrete = [option for option in options if option is not type(None)]
    for option in concrete:
        if isinstance(option, type) and isinstance(value, option):
            return value
    return _typed(concrete[0], value, where)

"""What the user's instruction files must look like. Pure: a record in, a ValueError or nothing."""

from typing import Any

ROLES = ("system", "user", "assistant")


def check_conversation(record: Any, where: str) -> None:
    """``{"messages": [{"role", "content"}, …]}``: something, and the assistant's answer to it."""
    messages = _field(record, "messages", list, where)
    _check_messages(messages, where)
    if messages[-1]["role"] != "assistant":
        raise ValueError(f"{where}: the last message must be the assistant's")
    if len(messages) < 2:
        raise ValueError(f"{where}: a message must come before the assistant's last")


def check_preference(record: Any, where: str) -> None:
    """``{"prompt": [messages], "chosen": text, "rejected": text}``."""
    _check_messages(_field(record, "prompt", list, where), where)
    for name in ("chosen", "rejected"):
        _field(record, name, str, where)


def check_choice(record: Any, where: str) -> None:
    """``{"question": text, "choices": [text, …], "answer": index}``."""
    _field(record, "question", str, where)
    choices = _field(record, "choices", list, where)
    if not all(isinstance(choice, str) for choice in choices):
        raise ValueError(f"{where}: the choices must all be texts")
    answer = _field(record, "answer", int, where)
    if not 0 <= answer < len(choices):
        raise ValueError(f"{where}: answer {answer} is not an index of its {len(choices)} choices")


def _field(record: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(record, dict) or not isinstance(record.get(name), kind):
        raise ValueError(f"{where}: needs {name!r} as a {kind.__name__}")
    return record[name]


def _check_messages(messages: list[Any], where: str) -> None:
    if not messages:
        raise ValueError(f"{where}: there must be at least one message")
    for message in messages:
        if _field(message, "role", str, where) not in ROLES:
            raise ValueError(f"{where}: role {message['role']!r} is not one of {', '.join(ROLES)}")
        _field(message, "content", str, where)

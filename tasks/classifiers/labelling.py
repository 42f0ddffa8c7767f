"""Points for documents from a language model behind OpenAI's chat interface.

In: documents and where to ask. Out: one record a document, with its points, or None and the answer
in which none were found. Each answer is written to a journal at once, so that a run that was cut
short does not ask again. The key comes from the environment and goes into one header, nowhere else.
"""

import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import httpx

from tasks.classifiers.config import LabelsConfig
from tasks.common.retry_after import retry_after_seconds

log = logging.getLogger("bloomery.classifiers")

POINTS = re.compile(r"score\W{0,20}([0-5])(?!\d)(?:\.\d+)?", re.IGNORECASE)
MAX_ANSWER_CHARS_KEPT = 2_000
MAX_PAUSE_SECONDS = 120.0
# The host is busy or broken for now; anything else that is wrong stays wrong.
FOR_NOW = {408, 409, 425, 429, 500, 502, 503, 504, 529}


class Question(NamedTuple):
    """A document to be judged."""

    rank: int
    document_id: str
    text: str


def points_of(answer: str) -> int | None:
    """The points that an answer ends with, 0 to 5; None if it names none."""
    found = POINTS.findall(answer)
    return int(found[-1]) if found else None


def label(
    questions: Sequence[Question],
    config: LabelsConfig,
    journal: Path,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
    """Ask about each document that the journal does not have; return all records, in order.

    Raises:
        ValueError: the endpoint refuses what it is asked; the message says what it answered.
        RuntimeError: it did not answer after all tries, or the run was stopped.
    """
    done = _read_journal(journal)
    todo = [question for question in questions if question.document_id not in done]
    log.info("labels: %d of %d are there", len(questions) - len(todo), len(questions))
    with journal.open("a", encoding="utf-8") as file, _client(config) as client:
        if file.tell() and not journal.read_bytes().endswith(b"\n"):
            file.write("\n")  # what follows must not join a line that was cut short
        for record in _ask_all(todo, client, config, should_stop):
            _append(file, record)
            done[record["id"]] = record
            if len(done) % 100 == 0:
                log.info("labels: %d of %d", len(done), len(questions))
    return [done[question.document_id] for question in questions]


def _ask_all(
    questions: Sequence[Question],
    client: httpx.Client,
    config: LabelsConfig,
    should_stop: Callable[[], bool],
) -> Iterator[dict[str, Any]]:
    """Records as they come. After a failure nothing more is asked; what is under way is awaited,
    so that its answers are kept, and then the failure is raised.
    """
    waiting = iter(questions)
    pending: set[Future[dict[str, Any]]] = set()
    given_up = threading.Event()
    failure: BaseException | None = None
    with ThreadPoolExecutor(config.num_at_once) as pool:
        try:
            while True:
                while (
                    not failure
                    and len(pending) < config.num_at_once
                    and (question := next(waiting, None))
                ):
                    pending.add(pool.submit(_ask, question, client, config, given_up))
                if not pending:
                    break
                if should_stop():
                    raise RuntimeError("the run was stopped; what was answered is kept")
                done, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in done:
                    if error := future.exception():
                        failure = failure or error
                        given_up.set()
                    else:
                        yield future.result()
        finally:
            given_up.set()
    if failure:
        raise failure


def _ask(
    question: Question, client: httpx.Client, config: LabelsConfig, given_up: threading.Event
) -> dict[str, Any]:
    """One document's record."""
    extract = question.text[: config.max_chars]
    body = {
        "model": config.model,
        "messages": [{"role": "user", "content": config.prompt.replace("{text}", extract)}],
        "temperature": 0,
        "max_tokens": config.max_answer_tokens,
    }
    answer = _answer(client, body, config, given_up)
    points = points_of(answer)
    record: dict[str, Any] = {"id": question.document_id, "points": points}
    if points is None:
        record["answer"] = answer[:MAX_ANSWER_CHARS_KEPT]
    return record


def _answer(
    client: httpx.Client, body: dict[str, Any], config: LabelsConfig, given_up: threading.Event
) -> str:
    problem = ""
    for number in range(config.max_tries):
        pause = min(2.0**number, MAX_PAUSE_SECONDS)
        try:
            response = client.post("chat/completions", json=body)
        except httpx.TransportError as error:
            problem = f"{type(error).__name__}: {error}"
        else:
            if response.is_success:
                return _content(response)
            problem = f"status {response.status_code}: {_without_key(response, client)}"
            if response.status_code not in FOR_NOW:
                raise ValueError(
                    f"the endpoint of classifiers.quality.labels refuses, {problem}; check its "
                    f"base_url and model, and the key in ${config.key_variable}"
                )
            asked = retry_after_seconds(response.headers.get("retry-after", ""))
            pause = pause if asked is None else min(asked, MAX_PAUSE_SECONDS)
        if number + 1 < config.max_tries and given_up.wait(pause):
            break
    raise RuntimeError(
        f"the endpoint of classifiers.quality.labels gave no answer in {config.max_tries} tries; "
        f"the last: {problem}. What was answered is kept: run it again"
    )


def _without_key(response: httpx.Response, client: httpx.Client) -> str:
    """What a refusal says; some hosts quote the key in it."""
    key = client.headers.get("authorization", "").removeprefix("Bearer ")
    text = response.text.replace(key, "(key)") if key else response.text
    return text[:300]


def _content(response: httpx.Response) -> str:
    """The text of an answer; empty for one that has none, which then counts as unreadable."""
    try:
        content = response.json()["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
    return content if isinstance(content, str) else ""


def _client(config: LabelsConfig) -> httpx.Client:
    key = os.environ.get(config.key_variable, "")
    return httpx.Client(
        base_url=config.base_url.rstrip("/") + "/",
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=config.timeout_seconds,
        limits=httpx.Limits(max_connections=config.num_at_once),
    )


def _read_journal(journal: Path) -> dict[str, dict[str, Any]]:
    """Records by document; a line that a kill cut short is as if not written."""
    if not journal.exists():
        return {}
    found = {}
    for line in journal.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            record = json.loads(line)
            found[record["id"]] = record
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _append(file: TextIO, record: dict[str, Any]) -> None:
    file.write(json.dumps(record, ensure_ascii=True, sort_keys=True) + "\n")
    file.flush()
    os.fsync(file.fileno())

"""A server that answers as OpenAI's chat interface does, on loopback."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

KEY = "sk-very-secret"


class Reply(NamedTuple):
    """What the server does with a question."""

    status: int = 200
    content: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Asked(NamedTuple):
    """What reached the server."""

    path: str
    key: str
    body: dict[str, Any]


@contextmanager
def answering(reply: Callable[[str, int], Reply]) -> Iterator[tuple[str, list[Asked]]]:
    """Serve ``reply(prompt, how often it was asked before)``; the base URL, and all questions."""
    asked: list[Asked] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            prompt = body["messages"][-1]["content"]
            with lock:
                before = sum(one.body["messages"][-1]["content"] == prompt for one in asked)
                asked.append(Asked(self.path, self.headers.get("authorization", ""), body))
            found = reply(prompt, before)
            message = {"role": "assistant", "content": found.content}
            answer = {"object": "chat.completion", "choices": [{"index": 0, "message": message}]}
            data = json.dumps(answer if found.status == 200 else {"error": found.content}).encode()
            self.send_response(found.status)
            for name, value in (*found.headers, ("content-length", str(len(data)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

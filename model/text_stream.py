"""Text as its tokens come: whole characters only, and nothing of a stop string.

In: a row's ids, one by one. Out: pieces that may be shown, which together are the row's decoded
text up to where the first stop string begins. Where tokens come from is ``generate.py``'s.
"""

from collections.abc import Sequence

from tokenizers import Tokenizer

from model import chat

HALF = "\ufffd"
MAX_HALF = 3  # bytes, and so replacement characters, of a UTF-8 character that is not all there
WINDOW_TOKENS = 64  # decoded anew for each token


class TextStream:
    """One row's text. ``is_over`` says that a stop string has come."""

    def __init__(self, tokenizer: Tokenizer, stop_strings: Sequence[str] = ()) -> None:
        if not all(stop_strings):
            raise ValueError("a stop string must not be empty")
        self._tokenizer, self._stops = tokenizer, tuple(stop_strings)
        self._window: list[int] = []
        self._num_read = 0  # characters of the window's text that have left it
        self._held = ""
        self.is_over = False

    def add(self, token_id: int) -> str:
        """What may be shown now that this token has come; often nothing."""
        assert not self.is_over
        self._window.append(token_id)
        text = chat.decode(self._tokenizer, self._window)
        num_half = min(MAX_HALF, len(text) - len(text.rstrip(HALF)))
        piece = self._show(text[self._num_read : len(text) - num_half])
        self._num_read = max(self._num_read, len(text) - num_half)
        if len(self._window) > WINDOW_TOKENS:
            self._move_window()
        return piece

    def finish(self) -> str:
        """What was held back, for no more tokens come."""
        if self.is_over:
            return ""
        rest = chat.decode(self._tokenizer, self._window)[self._num_read :]
        shown = self._show(rest)
        held, self._held = self._held, ""
        return shown + held

    def _show(self, new: str) -> str:
        """Of what was held and what is new: the part before the stop string that is the first to
        be whole, or before what may become one."""
        text = self._held + new
        begins = [(text.find(stop), len(stop)) for stop in self._stops]
        whole = [(begin + length, begin) for begin, length in begins if begin >= 0]
        self.is_over = bool(whole)
        end = min(whole)[1] if whole else len(text) - self._num_undecided(text)
        self._held = "" if whole else text[end:]
        return text[:end]

    def _num_undecided(self, text: str) -> int:
        """Characters at the end that begin a stop string."""
        longest = max(map(len, self._stops), default=1) - 1
        return next(
            (
                size
                for size in range(min(longest, len(text)), 0, -1)
                if any(stop.startswith(text[-size:]) for stop in self._stops)
            ),
            0,
        )

    def _move_window(self) -> None:
        """Begin with the last token, read already: a vocabulary of SentencePiece's kind decodes
        the first token of all otherwise. One that is half a character cannot be a beginning."""
        first = self._window[-1:]
        alone = chat.decode(self._tokenizer, first)
        is_read = chat.decode(self._tokenizer, self._window)[self._num_read :] == ""
        if is_read and alone and HALF not in alone:
            self._window, self._num_read = first, len(alone)

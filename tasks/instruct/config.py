"""Where instructions, preferences and the multiple-choice suite come from."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class InstructConfig(BaseModel):
    """Built from the documentation strings in the corpus, or read from the user's files."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Instructions and preferences")

    origin: Literal["docstrings", "files"] = Field(
        "docstrings",
        title="Origin",
        description="docstrings: asked about the Python code in the corpus; files: as given below",
    )
    num_eval: int = Field(
        600, ge=1, title="Held-out questions", description="Never trained on as instructions"
    )
    num_choices: int = Field(4, ge=2, le=10, title="Choices a question")
    min_answer_chars: int = Field(20, ge=1, title="Shortest answer, characters")
    max_answer_chars: int = Field(160, ge=10, title="Longest brief answer, characters")
    max_long_answer_chars: int = Field(400, ge=10, title="Longest rambling answer, characters")
    sft_files: list[str] = Field(
        [], title="SFT files", description='JSONL: {"messages": [{"role", "content"}, …]} a line'
    )
    preference_files: list[str] = Field(
        [],
        title="Preference files",
        description='JSONL: {"prompt": [messages], "chosen": text, "rejected": text} a line',
    )
    multiple_choice_files: list[str] = Field(
        [],
        title="Multiple-choice files",
        description='JSONL: {"question": text, "choices": [text], "answer": index} a line',
    )
    seed: int = Field(0, ge=0, title="Seed")

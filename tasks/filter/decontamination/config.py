"""What of evaluation suites may not be trained on, and how it is recognised."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class DecontaminationRules(BaseModel):
    """Overlap of documents with evaluation suites; nothing is done where no suites are named.

    "gpt3": any n-gram of words in common (Brown et al. 2020, arXiv:2005.14165, appendix C).
    "llama": an item counts as found where enough of its words lie in n-grams in common, between
    which some words may differ (Touvron et al. 2023, arXiv:2307.09288, appendix A.6).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Decontamination")

    suites: list[str] = Field(
        [],
        title="Suites",
        description="Files, folders or patterns of JSONL (an item a line), JSON (a list of items) "
        "or text (an item a paragraph), each also as .gz or .zst; a suite a file",
    )
    fields: list[str] = Field(
        [],
        title="Fields",
        description="Of an item, to be looked for; empty: those known from public suites, such as "
        "question, choices, answer, passage, prompt, target",
    )
    method: Literal["gpt3", "llama"] = Field(
        "gpt3",
        title="Method",
        description="gpt3: any n-gram in common; llama: enough of an item in common n-grams",
    )
    action: Literal["span", "document", "tag"] = Field(
        "span",
        title="Action",
        description="span: cut what overlaps out of the document; document: drop it; tag: note the "
        "suites in its tags",
    )
    ngram_words: int = Field(
        13, title="Words of an n-gram", ge=5, le=50, description="GPT-3: 13; Llama 2: 10"
    )
    min_words: int = Field(
        8,
        title="Shortest text",
        ge=4,
        description="Words; a question or answer shorter than an n-gram is looked for as a whole, "
        "unless it is shorter than this",
    )
    min_item_share: float = Field(
        0.8, title="Least share of an item", ge=0, le=1, description="Of its words; llama only"
    )
    max_skipped_words: int = Field(
        4, title="Most skipped words", ge=0, le=20, description="That differ in a match; llama only"
    )
    max_items: int = Field(
        10,
        title="Commonplace in suites",
        ge=1,
        description="An n-gram in more items than this is a suite's form, not its content",
    )
    max_documents: int = Field(
        10,
        title="Commonplace in documents",
        ge=0,
        description="An n-gram in more different documents of the source than this is a common "
        "phrase (GPT-3: 10); 0: no limit, which saves a reading of the source",
    )
    margin_chars: int = Field(
        200, title="Margin", ge=0, description="Characters cut on either side of an overlap"
    )
    min_piece_chars: int = Field(
        200, title="Shortest piece", ge=0, description="Characters; shorter rests are cut too"
    )
    max_pieces: int = Field(
        10,
        title="Most pieces",
        ge=1,
        description="A document that would be cut into more is dropped",
    )

    @model_validator(mode="after")
    def _short_texts_fit(self) -> "DecontaminationRules":
        if self.min_words > self.ngram_words:
            raise ValueError(
                f"min_words ({self.min_words}) must not exceed ngram_words ({self.ngram_words})"
            )
        return self

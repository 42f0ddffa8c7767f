"""What a user may say about classifiers: what teaches them, and how they learn."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

TEXT_FILES = "JSONL (plain, .gz, .zst): a text, or what is asked and answered; .txt: one text each"
DEFAULT_PROMPT = """\
Judge how useful the following extract of a web page is for teaching at school. Add up points:

- 1 point if it has some information that relates to a subject taught, even beside advertising \
or chatter.
- 1 more if it deals with such a subject, if loosely, superficially or without order.
- 1 more if it could be used in class: coherent, introducing notions that matter to the subject.
- 1 more if it is clear and consistent, as a chapter of a textbook or a tutorial, with little that \
is beside the point.
- 1 more if it is outstanding for teaching: thorough, easy to follow, with nothing beside the point.

The extract:
{text}

Justify the points in fewer than 100 words. End with one line: "Score: " and the sum of points.\
"""


class LabelsConfig(BaseModel):
    """Points that a language model gives to a sample of documents (FineWeb-Edu's recipe: Penedo et
    al. 2024, arXiv:2406.17557, section 4): any server that speaks OpenAI's chat interface.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Labels by a language model")

    base_url: str = Field(
        "http://127.0.0.1:8000/v1",
        title="Endpoint",
        pattern=r"^https?://[^@\s]+$",
        description="Address below which chat/completions is; changes no result",
    )
    model: str = Field("", title="Model", description="As the endpoint calls it")
    key_variable: str = Field(
        "LABELS_API_KEY",
        title="Variable with the key",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Environment variable that holds the endpoint's key, if it wants one",
    )
    prompt: str = Field(
        DEFAULT_PROMPT,
        title="Prompt",
        description="{text} stands for the extract; the answer ends in Score: and 0 to 5 points",
    )
    num_documents: int = Field(2_000, title="Documents labelled", ge=10, le=10_000_000)
    max_chars: int = Field(3_000, title="Length of an extract, characters", ge=100, le=100_000)
    max_answer_tokens: int = Field(300, title="Longest answer, tokens", ge=1, le=100_000)
    num_at_once: int = Field(
        8, title="Questions at once", ge=1, le=1_000, description="Changes no result"
    )
    timeout_seconds: float = Field(
        120.0, title="Longest wait, seconds", gt=0, description="For an answer; changes no result"
    )
    max_tries: int = Field(
        6, title="Tries", ge=1, le=100, description="Of a question; changes no result"
    )

    @field_validator("prompt")
    @classmethod
    def _has_a_place_for_the_text(cls, prompt: str) -> str:
        if "{text}" not in prompt:
            raise ValueError("the prompt must say {text} where the extract is to stand")
        return prompt


class QualityConfig(BaseModel):
    """What teaches the quality classifier; nothing named: quality is not scored."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Quality classifier")

    method: Literal["references", "labels"] = Field(
        "references",
        title="Method",
        description="references: likeness to what is good, against random documents; "
        "labels: points that a language model gives to a sample, learned by regression",
    )
    reference_sources: list[str] = Field(
        default_factory=list,
        title="Reference sources",
        description="Sources whose prose is what good looks like",
    )
    reference_files: list[str] = Field(
        default_factory=list, title="Reference files", description=TEXT_FILES
    )
    referenced_url_files: list[str] = Field(
        default_factory=list,
        title="Lists of referenced pages",
        description="One URL a line, such as those that Wikipedia links to; these are good",
    )
    referencing_sources: list[str] = Field(
        default_factory=list,
        title="Referencing sources",
        description="Sources such as an encyclopedia: pages that they link to are good; what they "
        "hold themselves is no example",
    )
    other_files: list[str] = Field(
        default_factory=list,
        title="Files of random documents",
        description=f"Beside the corpus's other documents. {TEXT_FILES}",
    )
    reading: Literal["amount", "mean"] = Field(
        "amount",
        title="Reading",
        description="amount: how much of a document is like the references; mean: how like it is",
    )
    half_words: float = Field(
        200.0,
        title="Words for half",
        gt=0,
        description="For amount: so many words like the references make a score of 0.5",
    )
    labels: LabelsConfig = LabelsConfig()

    @model_validator(mode="after")
    def _labels_have_a_model(self) -> "QualityConfig":
        if self.method == "labels" and not self.labels.model:
            raise ValueError(
                "method=labels asks a language model: set labels.model to its name there"
            )
        if self.method == "labels" and self.has_references:
            raise ValueError(
                "method=labels learns from points alone: take reference_sources, reference_files, "
                "referenced_url_files and referencing_sources away, or choose method=references"
            )
        return self

    @property
    def has_references(self) -> bool:
        """Whether anything says what good looks like."""
        return bool(
            self.reference_sources
            or self.reference_files
            or self.referenced_url_files
            or self.referencing_sources
        )


class DomainConfig(BaseModel):
    """What teaches the subjects and formats."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Subject classifier")

    from_sources: bool = Field(
        True, title="Learn from sources", description="Those whose documents have a subject"
    )
    seed_files: list[str] = Field(
        default_factory=list,
        title="Seed files",
        description='JSONL (plain, .gz, .zst): {"text": …, "label": subject} a line',
    )


class ToxicityConfig(BaseModel):
    """What teaches the toxicity classifier; no files: toxicity is not scored."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Toxicity classifier")

    files: list[str] = Field(
        default_factory=list,
        title="Labelled files",
        description='JSONL (plain, .gz, .zst): {"text": …, "label": …} a line',
    )
    toxic_labels: list[str] = Field(
        default_factory=lambda: ["1", "true", "toxic", "hate", "hateful", "offensive"],
        title="Toxic labels",
        description="What labels say so, in lower case; a number says so from 0.5 on",
    )


class LearningConfig(BaseModel):
    """How classifiers learn."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Learning")

    learner: Literal["windows", "fasttext"] = Field(
        "windows",
        title="Learner",
        description="windows: word n-grams of windows of 48 words; fasttext: of the beginning; "
        "points of labels are learned by windows in any case",
    )
    max_documents: int = Field(
        10_000, title="Most documents", ge=10, le=10_000_000, description="Of a class"
    )
    max_windows: int = Field(
        8, title="Most windows", ge=1, le=128, description="Of a document, its first ones"
    )
    inverse_penalty: float = Field(
        3.0, title="Inverse penalty", gt=0, description="Of windows: C of a logistic regression"
    )
    dimensions: int = Field(16, title="Vector width", ge=2, le=300, description="Of fastText")
    buckets: int = Field(
        100_000, title="Word-pair buckets", ge=1_000, le=2_000_000, description="Of fastText"
    )
    epochs: int = Field(10, title="Epochs", ge=1, le=100, description="Of fastText")
    learning_rate: float = Field(0.5, title="Learning rate", gt=0, le=5, description="Of fastText")


class ClassifiersConfig(BaseModel):
    """Which classifiers are trained, or which that were made before are used again."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Classifiers")

    pinned: str = Field(
        "",
        title="Pinned",
        pattern=r"^(classifiers/[0-9a-f]{16})?$",
        description="classifiers/… of an earlier run: nothing is trained, so that scores of new "
        "documents compare with those of old ones",
    )
    quality: QualityConfig = QualityConfig()
    domain: DomainConfig = DomainConfig()
    toxicity: ToxicityConfig = ToxicityConfig()
    learning: LearningConfig = LearningConfig()

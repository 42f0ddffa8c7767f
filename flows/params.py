"""The one tree of parameters: all that decides what a run makes.

Presets fill it, ``--set`` and the UI's form change it, every flow takes it whole and reads its
part. Where and how fast to work is ``Machine``'s and never comes here.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tasks.classifiers.config import ClassifiersConfig
from tasks.classify.config import ClassifyConfig
from tasks.compare.config import CompareConfig
from tasks.crawl.config import SourceConfig
from tasks.dpo.config import DpoConfig
from tasks.duplicates.config import DuplicatesConfig
from tasks.evaluate.config import EvaluateConfig
from tasks.extract.config import ExtractRules
from tasks.filter.config import FilterConfig
from tasks.instruct.config import InstructConfig
from tasks.mix.config import MixConfig
from tasks.passages.config import PassagesConfig
from tasks.preferences.config import PreferencesConfig
from tasks.pretrain.config import PretrainConfig
from tasks.regmix.config import RegmixConfig
from tasks.report.config import ReportConfig
from tasks.sft.config import SftConfig
from tasks.signatures.config import SignaturesConfig
from tasks.tokenizer.config import TokenizerConfig


class DedupParams(SignaturesConfig, DuplicatesConfig):
    """How copies are found, and which of them stays.

    Only ``minhash``, permutations, shingles and seed are in the signatures: what else changes is
    decided anew from the signatures that are there.
    """

    model_config = ConfigDict(title="Dedup")

    @property
    def signatures(self) -> SignaturesConfig:
        """The part that makes signatures."""
        return SignaturesConfig(**self.model_dump(include=set(SignaturesConfig.model_fields)))

    @property
    def duplicates(self) -> DuplicatesConfig:
        """The part that decides from them."""
        return DuplicatesConfig(**self.model_dump(include=set(DuplicatesConfig.model_fields)))

    @model_validator(mode="after")
    def _bands_fit_into_a_signature(self) -> "DedupParams":
        num_needed = self.num_bands * self.rows_per_band
        if self.minhash and not self.threshold and num_needed > self.num_permutations:
            raise ValueError(
                f"{self.num_bands} bands of {self.rows_per_band} rows need {num_needed} "
                f"permutations; set num_permutations={num_needed}"
            )
        return self


class Params(BaseModel):
    """From sources to scores, in the order of the road."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Parameters")

    name: str = Field(
        title="Name",
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        description="What this run and its results are called; changes no result",
    )
    sources: list[SourceConfig] = Field(min_length=1, title="Sources of pages and files")
    extract: ExtractRules = ExtractRules()
    filter: FilterConfig = FilterConfig()
    dedup: DedupParams = DedupParams()
    passages: PassagesConfig = PassagesConfig()
    classifiers: ClassifiersConfig = ClassifiersConfig()
    classify: ClassifyConfig = ClassifyConfig()
    mix: MixConfig = MixConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    regmix: RegmixConfig = RegmixConfig()
    train: PretrainConfig = PretrainConfig()
    instruct: InstructConfig = InstructConfig()
    sft: SftConfig = SftConfig()
    preferences: PreferencesConfig = PreferencesConfig()
    dpo: DpoConfig = DpoConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    compare: CompareConfig = CompareConfig()
    report: ReportConfig = ReportConfig()

    def dated(self, today: date) -> "Params":
        """The same with ``today`` as the snapshot of every source that asks for it."""
        sources = [
            source.model_copy(update={"snapshot": today.isoformat()})
            if source.snapshot == "today"
            else source
            for source in self.sources
        ]
        return self.model_copy(update={"sources": sources})

    @model_validator(mode="after")
    def _copies_can_be_chosen_between(self) -> "Params":
        names = [source.name for source in self.sources]
        if unknown := [n for n in self.dedup.preferred_sources if n not in names]:
            raise ValueError(
                f"dedup.preferred_sources has {unknown[0]!r}, which no source is called; there "
                f"are: {', '.join(names)}"
            )
        if self.dedup.keep == "quality":
            if self.dedup.quality == "quality_score":
                raise ValueError(
                    "dedup.keep=quality with dedup.quality=quality_score: classify gives that "
                    "score after copies are gone; name a signal in dedup.quality, such as "
                    "rps_doc_word_count, with filter.signals=true"
                )
            if not self.filter.signals:
                raise ValueError(
                    f"dedup.keep=quality reads the signal {self.dedup.quality!r}, and no signals "
                    "are measured; set filter.signals=true"
                )
        return self

    @model_validator(mode="after")
    def _models_fit_together(self) -> "Params":
        if self.train.start.is_given:  # its shape is its own: planning looks at it
            if self.tokenizer.kind == "bytes" or self.tokenizer.adopt:
                name = "adopt" if self.tokenizer.adopt else "kind=bytes"
                raise ValueError(
                    f"tokenizer.{name} does not go with train.start, a model that brings its own "
                    f"tokenizer: leave out one of the two"
                )
            return self
        self.check_model(self.train.seq_len, is_lstm=self.train.is_lstm)
        return self

    def check_model(self, context: int, *, is_lstm: bool) -> None:
        """See that the stages after pretraining can work on its model, of ``context`` tokens.

        Raises:
            ValueError: one of them cannot.
        """
        for name, asked in (
            ("sft.max_tokens", self.sft.max_tokens),
            ("dpo.max_tokens", self.dpo.max_tokens),
            ("evaluate.needle.lengths", max(self.evaluate.needle.lengths, default=0)),
        ):
            if asked > context:
                raise ValueError(
                    f"{name}: {asked} exceeds the model's context of {context} tokens; lower it, "
                    "or raise train.seq_len"
                )
        for name, stage in (("sft", self.sft), ("dpo", self.dpo)):
            if is_lstm and stage.finetune.method != "none":
                raise ValueError(
                    f"{name}.finetune.method={stage.finetune.method} works on transformers, and "
                    f"the model is an LSTM; use none"
                )

    @model_validator(mode="after")
    def _the_rate_falls_after_it_has_risen(self) -> "Params":
        later, train = sum(phase.share for phase in self.mix.phases), self.train
        if train.decay != "wsd" or train.decay_share is not None or not later:
            return self
        first = round((1 - later) * train.steps)
        if first < train.warmup_steps:
            raise ValueError(
                f"train.decay=wsd begins to fall with mix.phases, at step {first}, before the "
                f"warm-up ends at {train.warmup_steps}: lower train.warmup_steps, or the shares of "
                "the later phases"
            )
        return self

    @model_validator(mode="after")
    def _held_out_is_there(self) -> "Params":
        if self.train.watch.early_stop_patience is not None and not self.mix.validation_share:
            raise ValueError(
                "train.watch.early_stop_patience watches held-out text, and "
                "mix.validation_share=0 leaves none: raise it, such as to 0.02"
            )
        return self

    @model_validator(mode="after")
    def _given_preferences_are_given(self) -> "Params":
        if self.preferences.origin == "given" and self.instruct.origin != "files":
            raise ValueError(
                "preferences.origin=given reads instruct.preference_files, so it needs "
                "instruct.origin=files; or use preferences.origin=sampled"
            )
        return self

    @model_validator(mode="after")
    def _preferences_train_on(self) -> "Params":
        if not self.sft.finetune.can_be_trained_on:
            raise ValueError(
                f"sft.finetune.method={self.sft.finetune.method} leaves a model that dpo cannot "
                "train on; use lora, qlora or bitfit, or none"
            )
        return self


def with_changes(values: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A copy of a parameter tree with ``path.to.field=value`` changes made; values are YAML.

    Raises:
        ValueError: no ``=``, or a path that is not in the tree.
    """
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"--set {change}: write --set path.to.field=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {change}: {text!r} is not a value: {error}") from error
        values = _changed(values, path.strip().split("."), value, path)
    return values


def parse_model(model: type[BaseModel], values: Mapping[str, Any]) -> Any:
    """Validate ``values``; a ValueError names each wrong field in one line."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        wrong = []
        for problem in error.errors():
            where = ".".join(map(str, problem["loc"])) or model.__name__
            wrong.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}")
        raise ValueError("; ".join(wrong)) from None


def _changed(node: Any, keys: list[str], value: Any, path: str) -> Any:
    key, rest = keys[0], keys[1:]
    if isinstance(node, list):
        if not key.isdigit() or int(key) >= len(node):
            raise ValueError(f"--set {path}: {key!r} is not one of 0 … {len(node) - 1}")
        index = int(key)
        new = _changed(node[index], rest, value, path) if rest else value
        return [*node[:index], new, *node[index + 1 :]]
    if not isinstance(node, dict) or key not in node:
        known = ", ".join(node) if isinstance(node, dict) else "nothing"
        raise ValueError(f"--set {path}: there is no {key!r}; known here: {known}")
    return node | {key: _changed(node[key], rest, value, path) if rest else value}

"""The road from pages to an aligned model, written once.

Each function names the stages in their order and hands every stage the addresses of its inputs. It
does not know whether it is being run or only planned: ``run`` is given, and either makes an
artifact or merely names it. So what ``plan`` prints is what a run does.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from pydantic import BaseModel

from flows.params import Params
from tasks.classifiers.task import classifiers
from tasks.classify.task import classify
from tasks.common.manifest import ArtifactRef
from tasks.common.stage_task import StageTask
from tasks.compare.task import compare
from tasks.crawl.config import SourceConfig
from tasks.crawl.task import crawl
from tasks.dedup.config import DedupConfig
from tasks.dedup.task import dedup
from tasks.dpo.task import dpo
from tasks.duplicates.task import duplicates
from tasks.evaluate.task import evaluate
from tasks.extract.config import ExtractConfig
from tasks.extract.task import extract
from tasks.filter.task import filter
from tasks.instruct.task import instruct
from tasks.mix.task import mix
from tasks.passages.task import passages
from tasks.preferences.task import preferences
from tasks.pretrain.task import pretrain
from tasks.regmix.task import regmix
from tasks.report.task import report
from tasks.sft.task import sft
from tasks.signatures.task import signatures
from tasks.tokenizer.task import tokenizer
from tasks.tokens.config import TokensConfig
from tasks.tokens.task import tokens


class Run(Protocol):
    """Makes a stage's artifact, finds it, or only names it; returns its address."""

    def __call__(
        self,
        task: StageTask,
        config: BaseModel,
        inputs: Mapping[str, Sequence[ArtifactRef]],
        label: str = "",
    ) -> ArtifactRef:
        """Walk over one stage; ``label`` tells several runs of it apart."""
        ...


class Corpus(NamedTuple):
    """What curation leaves: the mixture to train on, and the documents it was drawn from."""

    mixture: ArtifactRef
    documents: ArtifactRef
    history: tuple[ArtifactRef, ...]


class Models(NamedTuple):
    """What training leaves, in the order in which the models are made from one another."""

    tokens: ArtifactRef
    instructions: ArtifactRef
    base: ArtifactRef
    sft: ArtifactRef
    aligned: ArtifactRef


class Scores(NamedTuple):
    """What evaluation leaves: one measurement a model, and the comparison of the last two."""

    base: ArtifactRef
    sft: ArtifactRef
    aligned: ArtifactRef
    comparison: ArtifactRef


def curate(params: Params, run: Run) -> Corpus:
    """Pages to a mixture: crawl → extract → filter → signatures, source by source; all else after.

    duplicates → dedup → passages, where one of its rules is on → classifiers → classify
    → mix. A new source or crawl leaves the others' signatures as they are.
    """
    history: list[ArtifactRef] = []
    crawls: list[ArtifactRef] = []
    kept: list[ArtifactRef] = []
    signed: list[ArtifactRef] = []
    for source in params.sources:
        pages = run(crawl, source, {}, source.name)
        documents = run(extract, _extraction(params, source), {"pages": [pages]}, source.name)
        kept.append(run(filter, params.filter, {"documents": [documents]}, source.name))
        signed.append(
            run(signatures, params.dedup.signatures, {"documents": [kept[-1]]}, source.name)
        )
        crawls.append(pages)
        history += [pages, documents, kept[-1], signed[-1]]
    verdicts = run(duplicates, params.dedup.duplicates, {"signatures": signed, "pages": crawls})
    unique = run(dedup, DedupConfig(), {"documents": kept, "duplicates": [verdicts]})
    history += [verdicts, unique]
    if params.passages.is_on:
        unique = run(passages, params.passages, {"documents": [unique]})
        history.append(unique)
    judges = _judges(params, unique, run)
    classified = run(classify, params.classify, {"documents": [unique], "classifiers": [judges]})
    mixture = run(mix, params.mix, {"documents": [classified]})
    return Corpus(mixture, classified, tuple(history))


def encode(params: Params, corpus: Corpus, run: Run) -> ArtifactRef:
    """A mixture to a vocabulary, or to that of a model given, and with it to token shards."""
    texts = {"documents": [corpus.mixture], "tokenizer": [_vocabulary(params, corpus, run)]}
    return run(tokens, TokensConfig(), texts)


def search(params: Params, shards: ArtifactRef, run: Run) -> ArtifactRef:
    """Token shards to the weights of a better mixture."""
    return run(regmix, params.regmix, {"tokens": [shards]})


def train(params: Params, corpus: Corpus, run: Run) -> Models:
    """A mixture to an aligned model: tokenizer → tokens → pretrain → sft → preferences → dpo."""
    shards = encode(params, corpus, run)
    instructions = run(instruct, params.instruct, {"documents": [corpus.documents]})
    base = run(pretrain, params.train, {"tokens": [shards], "checkpoint": _given_model(params)})
    tuned = run(sft, params.sft, {"checkpoint": [base], "instructions": [instructions]})
    pairs = instructions
    if params.preferences.origin == "sampled":
        asked = {"checkpoint": [tuned], "instructions": [instructions]}
        pairs = run(preferences, params.preferences, asked)
    aligned = run(dpo, params.dpo, {"checkpoint": [tuned], "preferences": [pairs]})
    return Models(shards, instructions, base, tuned, aligned)


def measure(params: Params, models: Models, run: Run) -> Scores:
    """Measure each model, and compare the aligned one with the one it was made from."""
    base, tuned, aligned = (
        run(
            evaluate,
            params.evaluate,
            {
                "checkpoint": [checkpoint],
                "tokens": [models.tokens],
                "instructions": [models.instructions],
            },
            name,
        )
        for name, checkpoint in (
            ("base", models.base),
            ("sft", models.sft),
            ("aligned", models.aligned),
        )
    )
    comparison = run(compare, params.compare, {"candidate": [aligned], "baseline": [tuned]})
    return Scores(base, tuned, aligned, comparison)


def conclude(
    params: Params, corpus: Corpus, models: Models, scores: Scores, run: Run
) -> ArtifactRef:
    """Draw the report of everything that was made."""
    return run(
        report,
        params.report,
        {
            "data": [*corpus.history, corpus.documents, corpus.mixture],
            "training": [*models],
            "scores": [scores.base, scores.sft, scores.aligned],
            "comparison": [scores.comparison],
        },
    )


def _vocabulary(params: Params, corpus: Corpus, run: Run) -> ArtifactRef:
    """A tokenizer of the mixture's, or where a model is trained on, the model's own."""
    if given := _given_model(params):
        return given[0]
    config = params.tokenizer
    if params.train.start.folder:
        config = config.model_copy(update={"adopt": params.train.start.folder})
    return run(tokenizer, config, {"documents": [corpus.mixture]})


def _given_model(params: Params) -> list[ArtifactRef]:
    """The model of the store that pretraining starts from, if one is named."""
    named = params.train.start.checkpoint
    return [ArtifactRef.parse(named)] if named else []


def _judges(params: Params, documents: ArtifactRef, run: Run) -> ArtifactRef:
    """Classifiers that the documents teach, or those of an earlier run."""
    if params.classifiers.pinned:
        return ArtifactRef.parse(params.classifiers.pinned)
    return run(classifiers, params.classifiers, {"documents": [documents]})


def _extraction(params: Params, source: SourceConfig) -> ExtractConfig:
    return ExtractConfig(
        source=source.name,
        kind=source.kind,
        domain=source.domain,
        licence=source.licence,
        **params.extract.model_dump(),
    )

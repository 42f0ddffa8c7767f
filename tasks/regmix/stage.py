"""The regmix stage: token shards in, the weights of a better mixture out.

Out: ``weights.yaml`` (ready for ``mix.weights``), ``runs.json`` (every proxy run: its mixture, its
losses), and a summary with plots. Each run is committed as it ends: a kill loses those under way.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from model.tokens import TokenShard
from tasks.common.mixture import TRAIN, VALIDATION, read_mixture, shard_names
from tasks.common.stage import SUMMARY_NAME, Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.regmix.config import RegmixConfig
from tasks.regmix.plot import prediction_plot, weights_plot
from tasks.regmix.proxy import ProxyData, proxy_run
from tasks.regmix.search import Found, Kind, best_mixture, draw_mixtures

MIN_RANK_CORRELATION = 0.3
WEIGHTS_NAME, RUNS_NAME = "weights.yaml", "runs.json"


def run(context: StageContext, config: RegmixConfig) -> Outcome:
    """Train tiny models on many mixtures, learn which weights lower the loss, name the best."""
    tokens = context.input("tokens")
    rows = trainable_groups(tokens, config)
    names = [row["group"] for row in rows]
    targets = _targets(config, names)
    rules = read_mixture(tokens)["rules"]
    shares, limits = shares_and_limits(rules, rows, config)
    rng = np.random.default_rng(config.seed)
    strengths = (config.min_strength, config.max_strength)
    drawn, simulated = (
        draw_mixtures(shares, limits, size, strengths=strengths, rng=rng)
        for size in (config.num_runs, config.num_simulated)
    )
    data = proxy_data(tokens, rows, context.machine.device)
    results = context.map(
        proxy_run,
        [
            (data, portion_weights(rows, weights), config, config.seed)  # all begin alike
            for weights in drawn
        ],
        key="run",
    )
    losses = np.array([mean_loss(result["losses"], targets) for result in results])
    kinds: tuple[Kind, ...] = ("linear", "quadratic", "lightgbm")
    if config.regression != "best":
        kinds = (config.regression,)
    found = best_mixture(
        drawn,
        losses,
        simulated,
        kinds=kinds,
        num_folds=config.num_folds,
        num_top=config.num_top,
        seed=config.seed,
    )
    return _write(context, rules, names, targets, shares, drawn, losses, results, found)


def trainable_groups(tokens: Artifact, config: RegmixConfig) -> list[dict[str, Any]]:
    """The mixture's groups that can be trained on and measured.

    Their portions are those that fill a window and count in the main phase.

    Raises:
        ValueError: fewer than two can.
    """
    table = read_mixture(tokens)
    factors = table["rules"]["multiply"]
    groups = []
    for row in table["groups"]:
        portions = [p for p in row["portions"] if p["times"][0] and p["tokens"] > config.seq_len]
        is_left_out = factors.get(row["group"]) == 0  # no weight would bring it back
        if portions and row["validation_tokens"] > 1 and not is_left_out:
            groups.append(row | {"portions": portions})
    if len(groups) < 2:
        raise ValueError(
            f"a search needs two groups or more with {config.seq_len + 1} training tokens and some "
            f"held-out ones; there are {[row['group'] for row in groups]}: bring more documents, "
            "or raise mix.validation_share"
        )
    return groups


def shares_and_limits(
    rules: Mapping[str, Any], rows: list[dict[str, Any]], config: RegmixConfig
) -> tuple[np.ndarray, np.ndarray]:
    """What draws are made around, and what each group can be at most under the epoch limits.

    Raises:
        ValueError: the limits leave no choice.
    """
    sizes = np.array([sum(p["tokens"] for p in row["portions"]) for row in rows], float)
    shares = sizes**config.alpha
    epochs = np.array(
        [rules["max_epochs_by_group"].get(row["group"], rules["max_epochs"]) for row in rows]
    )
    limits = np.minimum(1.0, epochs * sizes / rules["token_budget"])
    if limits.sum() <= 1:
        raise ValueError(
            f"the epoch limits leave no choice: the groups can fill {limits.sum():.2f} of the "
            "budget; lower mix.token_budget or raise mix.max_epochs"
        )
    return shares / shares.sum(), limits


def proxy_data(tokens: Artifact, rows: list[dict[str, Any]], device: str) -> ProxyData:
    """Paths that workers on this machine can open."""
    folder = tokens.folder()
    train = {
        portion["name"]: [
            str(folder / name) for name in tokens.names(".bin", f"{TRAIN}/{portion['folder']}")
        ]
        for row in rows
        for portion in row["portions"]
    }
    return ProxyData(
        tokenizer=str(folder / "tokenizer.json"),
        train=train,
        validation={
            row["group"]: [str(folder / n) for n in shard_names(tokens, VALIDATION, row, ".bin")]
            for row in rows
        },
        vocab_size=TokenShard(Path(next(iter(train.values()))[0])).vocab_size,
        device=device,
    )


def portion_weights(rows: list[dict[str, Any]], weights: np.ndarray) -> dict[str, float]:
    """Weights of groups as weights of their portions, which stand to each other as they count."""
    found: dict[str, float] = {}
    for row, weight in zip(rows, weights, strict=True):
        counted = {p["name"]: p["tokens"] * p["times"][0] for p in row["portions"]}
        total = sum(counted.values())
        found |= {n: float(weight) * size / total for n, size in counted.items() if size and weight}
    return found


def mean_loss(losses: Mapping[str, float], targets: list[str]) -> float:
    """What a run is judged by."""
    return sum(losses[group] for group in targets) / len(targets)


def _targets(config: RegmixConfig, names: list[str]) -> list[str]:
    if unknown := sorted(set(config.targets) - set(names)):
        raise ValueError(f"targets {unknown} are none of the groups {names}")
    return config.targets or names


def _write(
    context: StageContext,
    rules: Mapping[str, Any],
    names: list[str],
    targets: list[str],
    shares: np.ndarray,
    drawn: np.ndarray,
    losses: np.ndarray,
    results: list[dict[str, Any]],
    found: Found,
) -> Outcome:
    weights_found = {
        group: round(float(weight), 4) for group, weight in zip(names, found.weights, strict=True)
    }
    given_rows = _given_rows(weights_found, rules["multiply"])
    text = yaml.safe_dump({"mix": {"weights": given_rows}}, sort_keys=False, allow_unicode=True)
    (context.path / WEIGHTS_NAME).write_text(text)
    runs = [
        {
            "weights": dict(zip(names, map(float, weights), strict=True)),
            "losses": result["losses"],
            "target_loss": float(loss),
            "predicted_loss": float(predicted),
        }
        for weights, result, loss, predicted in zip(
            drawn, results, losses, found.held_out, strict=True
        )
    ]
    (context.path / RUNS_NAME).write_text(json.dumps(runs, indent=1))
    correlations = {kind: round(rank, 4) for kind, rank in found.rank_correlations.items()}
    summary = _summary(names, targets, shares, drawn, losses, correlations, found, given_rows)
    (context.path / SUMMARY_NAME).write_text(summary)
    if max(correlations.values()) < MIN_RANK_CORRELATION:
        context.log.warning(
            "held-out runs are hardly ranked (%s): the mixture found is little better than chance; "
            "give regmix more steps or runs",
            correlations,
        )
    context.log.info("found %s", weights_found)
    return Outcome(
        metrics={
            "weights": weights_found,
            "predicted_loss": found.predicted_loss,
            "best_run_loss": float(losses.min()),
            "mean_run_loss": float(losses.mean()),
            "regression": found.kind,
            "rank_correlations": correlations,
            "num_runs": len(runs),
        }
    )


def _given_rows(
    weights: Mapping[str, float], multiply: Mapping[str, float]
) -> list[dict[str, Any]]:
    """What mix must be given for these weights: ``mix.multiply`` acts on what it is given."""
    return [
        {"group": group, "weight": float(f"{weight / multiply.get(group, 1):.6g}")}
        for group, weight in weights.items()
    ]


def _summary(
    names: list[str],
    targets: list[str],
    shares: np.ndarray,
    drawn: np.ndarray,
    losses: np.ndarray,
    correlations: Mapping[str, float],
    found: Found,
    given_rows: list[dict[str, Any]],
) -> str:
    """The search as Markdown: how well runs were ranked, the mixtures, and how to use the one."""
    best = int(np.argmin(losses))
    lines = [
        f"Target: mean held-out loss of {', '.join(targets)}. {len(losses)} proxy runs; rank "
        f"correlation of held-out predictions: "
        + ", ".join(f"{kind} {rank:.2f}" for kind, rank in correlations.items())
        + f". Predicted by {found.kind}.",
        "",
        "| group | drawn around | best run | mixture found |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | {shares[g]:.1%} | {drawn[best, g]:.1%} | {found.weights[g]:.1%} |"
            for g, name in enumerate(names)
        ),
        f"| target loss | | {losses[best]:.3f} | {found.predicted_loss:.3f} (predicted) |",
        "",
        "To use it:",
        "",
        f"    --set 'mix.weights={json.dumps(given_rows, ensure_ascii=False)}'",
        "",
        prediction_plot(losses.tolist(), found.held_out.tolist()),
        "",
        weights_plot(names, {"drawn around": shares, "found": found.weights}),
    ]
    return "\n".join(lines) + "\n"


STAGE = Stage(name="regmix", version=3, config=RegmixConfig, inputs=("tokens",), run=run)

"""The train flow: a curated corpus in, a base, an instructed and an aligned model out."""

from prefect import flow

from flows import road
from flows.params import Params
from flows.presets import DEMO
from flows.runner import MakingRunner, PlanningRunner, require
from tasks.common.stage import Machine
from tasks.common.store import Store


@flow(name="train", flow_run_name="train {params.name}", validate_parameters=True)
def train(params: Params = DEMO, machine: Machine = Machine()) -> str:
    """Train a tokenizer, pretrain, fine-tune and align on a corpus that has been curated.

    Args:
        params: What to make; the data half must be that of an earlier curate run.
        machine: Where to make it; nothing here changes the result.
    """
    corpus = road.curate(params, PlanningRunner(machine))
    require(machine, [corpus.mixture, corpus.documents], "run the curate flow with these params")
    models = road.train(params, corpus, MakingRunner(machine))
    Store(machine.store).give_name(f"model/{params.name}", models.aligned)
    return str(models.aligned)

"""The train flow: a curated corpus in, a base, an instructed and an aligned model out."""

from prefect import flow

from flows import road
from flows.params import Params
from flows.planning import ready_plan
from flows.presets import DEMO
from flows.runner import MakingRunner
from tasks.common.stage import Machine
from tasks.common.store import Store


@flow(name="train", flow_run_name="train {params.name}", validate_parameters=True)
def train(params: Params = DEMO, machine: Machine = Machine()) -> str:
    """Train a tokenizer, pretrain, fine-tune and align on a corpus that has been curated.

    Args:
        params: What to make; the data half must be that of an earlier curate run.
        machine: Where to make it; nothing here changes the result.
    """
    plan = ready_plan("train", params, machine)
    models = road.train(params, plan.corpus, MakingRunner(machine))
    Store(machine.store).give_name(f"model/{params.name}", models.aligned)
    return str(models.aligned)

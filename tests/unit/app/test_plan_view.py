"""What the plan card says before Start."""

from backprop_app.views.plan import plan_view
from backprop_core.config.specs import TrainSpec
from backprop_core.planning.plan import make_plan
from tests.support.plans import facts, model


def words(download_bytes: int) -> str:
    plan = make_plan(TrainSpec(lora_r=16), facts(model=model(source="wheel", download_bytes=download_bytes)))
    return plan_view(plan, ()).disk


def test_what_must_be_fetched_is_told_before_start() -> None:
    assert words(93_000_000).startswith("93\u00a0MB to fetch once, ")


def test_a_model_that_is_here_asks_for_nothing() -> None:
    assert "fetch" not in words(0)

import json
from pathlib import Path

import pytest

from training.analysis import compare_report
from training.analysis.compare import (
    Percentiles,
    Price,
    Run,
    Timed,
    assumptions,
    cost,
    lines,
    percentiles,
)
from training.analysis.compare_report import Report
from training.data.examples import Example, Message
from training.evaluation.generate import Output
from training.recipe.recipe import EvaluationConfig

RULES = EvaluationConfig(resamples=200)
EXAMPLES = [
    Example(
        f"i{n}",
        f"c{n // 2}",
        float(n),
        "suggestion",
        3,
        "base",
        "edit",
        (Message("user", f"question {n}"),),
        "shown",
        f"final text {n}",
    )
    for n in range(8)
]
"""Eight answers of four conversations."""


def timed(text: str, ms: float = 100.0) -> Timed:
    return Timed(Output(text, "stop", 20), 500, ms / 2000, ms / 1000)


def run(model: str, text: str, price: Price | None = None) -> Run:
    answers = tuple(timed(text.format(n=n), 100.0 * (n + 1)) for n, _ in enumerate(EXAMPLES))
    return Run(model, "http://a", answers, wall_s=6.0, price=price)


def test_cost_by_the_hour_is_the_hardware_s_time_per_conversation() -> None:
    """6 s for 4 conversations: 1500 s for 1000, at 3.60 an hour."""
    assert cost(run("base", "", Price(per_hour=3.6)), 4) == pytest.approx(1.5)


def test_cost_by_the_token_is_what_was_sent_and_answered() -> None:
    """8 answers of 500 and 20 tokens for 4 conversations: 1 M and 0.04 M tokens for 1000."""
    price = Price(per_mtok_in=0.5, per_mtok_out=10.0)
    assert cost(run("base", "", price), 4) == pytest.approx(0.5 + 0.4)
    assert cost(run("base", "", Price(per_mtok_out=10.0)), 4) == pytest.approx(0.4)


def test_without_a_price_there_is_no_cost() -> None:
    assert cost(run("base", ""), 4) is None
    assert cost(run("base", "", Price(per_hour=0.0)), 4) == 0


def test_percentiles_are_milliseconds() -> None:
    found = percentiles([n / 1000 for n in range(101)])
    assert (found.p50, found.p95) == pytest.approx((50, 95))


def report() -> Report:
    runs = [
        run("base", "nothing", Price(per_hour=3.6)),
        run("care@1", "final text {n}", Price(per_hour=7.2)),
        run("big|model", "final text {n}", Price(per_mtok_in=1.0)),
    ]
    found = lines(runs, EXAMPLES, RULES)
    return Report("care", "abc", tuple(found), tuple(assumptions(runs, EXAMPLES, RULES)))


def test_each_model_has_a_line_and_is_compared_with_the_first() -> None:
    base, adapter, _ = report().lines
    assert base.gain is None
    assert base.scores.means["edit_similarity"].mean < 0.4
    assert adapter.scores.means["edit_similarity"].mean == 1
    assert adapter.gain is not None
    assert adapter.gain.mean == pytest.approx(1 - base.scores.means["edit_similarity"].mean)
    assert adapter.gain.low > 0
    assert base.latency_ms == Percentiles(pytest.approx(450), pytest.approx(765))
    assert base.ttft_ms.p50 == pytest.approx(225)
    assert (base.output_tokens, base.engine_s, base.cost) == (20, 1.5, pytest.approx(1.5))
    assert adapter.cost == pytest.approx(3)


def test_the_foot_says_what_the_costs_take_for_granted() -> None:
    foot = "\n".join(report().assumptions)
    assert "8 held-out answers of 4 conversations, so a conversation has 2.0 answers" in foot
    assert "8 requests at once" in foot
    assert "3.6 per hour of the hardware" in foot
    assert "1 per million prompt tokens, 0 per million output tokens" in foot


def test_the_same_figures_stand_in_all_three_files(tmp_path: Path) -> None:
    compare_report.write(report(), tmp_path / "new")
    text = (tmp_path / "new" / "compare.md").read_text()
    page = (tmp_path / "new" / "compare.html").read_text()
    content = json.loads((tmp_path / "new" / "compare.json").read_text())
    assert "| care@1 | 1.000 [1.000, 1.000] |" in text
    assert "<td>care@1</td><td>1.000 [1.000, 1.000]</td>" in page
    assert "data:image/png;base64," in page
    assert [m["cost_per_thousand_conversations"] for m in content["models"]] == pytest.approx(
        [1.5, 3.0, 1.0]
    )
    assert content["models"][1]["scores"]["edit_similarity"]["mean"] == 1
    assert content["assumptions"] == list(report().assumptions)


def test_a_name_does_not_break_the_table() -> None:
    rows = [row for row in compare_report.markdown(report()).splitlines() if row.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {len(compare_report.HEAD) + 1}

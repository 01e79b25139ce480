import json
from pathlib import Path

import figures
import suggestions

from serving.config import prompts
from tests.training.data.formats.dialogs import dialog, write
from training.data.formats import star
from training.data.formats.star_examples import Renderer
from training.evaluation.gate import GateDecision, Reason
from training.trainers.job import Result


def test_what_is_asked_is_the_last_tenth_and_nothing_past_goes_on_into_it(tmp_path: Path) -> None:
    rows = [dialog(n) for n in range(1, 41)]
    rows[3]["events"][-2]["t"] += 1_000_000  # the fourth dialog ends after all others
    past, tried, asked = suggestions.parts(list(star.read(write(tmp_path / "s.jsonl", rows[::-1]))))
    assert [d.id for d in asked] == [37, 38, 39, 40]
    assert [d.id for d in tried] == [33, 34, 35, 36]
    assert [d.id for d in past] == [n for n in range(1, 33) if n != 4]


def test_a_part_is_taken_evenly_over_the_time() -> None:
    assert suggestions.evenly(range(10), 2) == [2, 7]
    assert suggestions.evenly(range(3), None) == suggestions.evenly(range(3), 5) == [0, 1, 2]


def test_each_reply_that_is_asked_for_has_the_turns_before_it(tmp_path: Path) -> None:
    dialogs = list(star.read(write(tmp_path / "s.jsonl", [dialog(1), dialog(2)])))
    prompt = prompts.load(Path("configs/prompts"), ["hotel"])["hotel", "suggestion"]
    asked, seen = (
        suggestions.asked_for(dialogs, Renderer("hotel", prompt)),
        suggestions.before(dialogs),
    )
    assert [len(turns) for turns in seen] == [e.turn_position for e in asked] == [2, 4, 2, 4]


def test_every_prompt_that_is_tried_renders_a_look_up(tmp_path: Path) -> None:
    (one,) = star.read(write(tmp_path / "s.jsonl", [dialog(1)]))
    forms = suggestions.renderers("hotel")
    assert forms.keys() == {"plain", "instruct", "brief"}
    for render in forms.values():
        assert "nowledge: Name: Room 1; Free: true" in render(one.turns[:2])[-1].content


def test_the_table_has_a_row_for_each_arm_of_each_line_with_its_intervals() -> None:
    rows = [dict.fromkeys(figures.FIGURES, 0.25)] * 2
    arms = figures.summarize({"base": rows, "bm25": rows}, ["1", "2"], "base")
    found = suggestions.table({"hotel": {"arms": arms}, "bank": {"arms": arms}})
    assert [(row["line"], row["arm"]) for row in found] == [
        ("hotel", "base"),
        ("hotel", "bm25"),
        ("bank", "base"),
        ("bank", "bm25"),
    ]
    assert all(row[name] == [0.25, 0.25, 0.25] for row in found for name in figures.FIGURES)


def test_a_fine_tuning_s_cost_is_kept_with_the_gate_s_reasons() -> None:
    losses = [(1, 2.5), (2, 1.5)]
    done = Result("folder", 8, 1, 900, 2, 12.34, "cpu", 100, 1000, losses)
    reason = Reason("edit_similarity", "superiority", False, "too little")
    told = suggestions.training_of(done, GateDecision(False, "base", (reason,)))
    told = json.loads(json.dumps(told))  # as it is written
    assert (told["first_loss"], told["last_loss"]) == (2.5, 1.5)
    assert (told["examples"], told["too_long"], told["seconds"]) == (8, 1, 12.3)
    assert told["gate"]["accepted"] is False
    assert told["gate"]["reasons"][0]["text"] == "too little"


def test_the_last_draft_is_what_a_reply_is_preferred_to(tmp_path: Path) -> None:
    (one,) = star.read(write(tmp_path / "s.jsonl", [dialog(1)]))
    prompt = prompts.load(Path("configs/prompts"), ["hotel"])["hotel", "suggestion"]
    render = Renderer("hotel", prompt)
    drafted = suggestions.with_drafts([one], render)
    assert [e.target for e in drafted] == [e.target for e in suggestions.asked_for([one], render)]
    replies = [r for r in one.replies if r.turn]
    assert any(reply.drafts for reply in replies)
    for example, reply in zip(drafted, replies, strict=True):
        if reply.drafts:
            assert (example.shown, example.source) == (reply.drafts[-1].text, "edit")
        else:
            assert (example.shown, example.source) == (example.target, "rating")

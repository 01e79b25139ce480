"""The trainer's log as a job's events, checkpoints and results file."""

import json

from training.jobs import step_log
from training.trainers.job import Result

LOG = [
    {"step": 1, "of": 4, "loss": 2.0, "mean_token_accuracy": 0.25, "learning_rate": 0.1, "x": 1.0},
    {"step": 2, "of": 4, "loss": 1.0},
    {"step": 2, "of": 4, "eval_loss": 1.5},
    {"checkpoint": 2},
]


def test_whole_lines_are_read_and_a_torn_one_is_left() -> None:
    text = "".join(json.dumps(entry) + "\n" for entry in LOG)
    found, length = step_log.entries(text + '{"step": 3, "of"')
    assert (found, length) == (LOG, len(text))
    assert step_log.entries('{"step"') == ([], 0)
    assert step_log.entries('{"st{"checkpoint": 1}\n{"checkpoint": 2}\n')[0] == [{"checkpoint": 2}]


def test_steps_looks_and_checkpoints_are_events_by_name() -> None:
    told = step_log.events(LOG)
    assert [one.message for one in told] == [
        "Step 1/4: training loss=2.00",
        "Step 2/4: training loss=1.00",
        "Step 2/4: validation loss=1.50",
        "Checkpoint created at step 2",
    ]
    assert [one.kind for one in told] == ["metrics", "metrics", "metrics", "message"]
    assert len({one.name for one in told}) == 4
    assert told[0].data == {
        "step": 1,
        "total_steps": 4,
        "train_loss": 2.0,
        "train_mean_token_accuracy": 0.25,
        "learning_rate": 0.1,
    }


def test_a_checkpoint_has_its_steps_figures() -> None:
    (one,) = step_log.checkpoints([*LOG, {"checkpoint": 2}])
    assert (one.step, one.metrics) == (2, {"step": 2, "train_loss": 1.0, "valid_loss": 1.5})


def test_the_results_file_has_a_row_a_step_in_openais_columns() -> None:
    again = [*LOG, {"step": 2, "of": 4, "loss": 1.25}]  # resumed from before it
    assert step_log.as_csv(again).decode().splitlines() == [
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy",
        "1,2.0,0.25,,",
        "2,1.25,,1.5,",
    ]


def test_a_result_says_the_same_where_there_is_no_log() -> None:
    done = Result("a", 4, 0, 9, 2, 1.0, "cpu", 1, 1, [(1, 2.0), (2, 1.0)], 1.5, [(2, 1.5)])
    assert step_log.by_step(step_log.of_result(done)) == {
        1: {"step": 1, "train_loss": 2.0},
        2: {"step": 2, "train_loss": 1.0, "valid_loss": 1.5},
    }


def test_the_end_is_foreseen_by_the_pace_so_far() -> None:
    first, last = {"step": 2, "of": 10}, {"step": 6, "of": 10}
    assert step_log.finish_at(first, 100.0, last, 108.0) == 116.0
    assert step_log.finish_at(first, 100.0, first, 101.0) is None

import subprocess
import sys
from pathlib import Path

from tests.training.execution.test_local import root
from training.execution import nice as priority

SAYS = "import os; print(os.getpid(), os.getpriority(os.PRIO_PROCESS, 0)); print(input())"


def test_a_program_runs_lowered_in_the_same_process_with_its_input() -> None:
    command = priority.command(19, (sys.executable, "-c", SAYS))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root()
    ) as process:
        said, _ = process.communicate("hello\n")
    assert said.split() == [str(process.pid), "19", "hello"]


def test_at_nice_0_it_is_the_program_itself() -> None:
    assert priority.command(0, ("a", "b")) == ("a", "b")


def test_an_autogroup_of_its_own_has_the_value_too() -> None:
    if not (priority.ENABLED.exists() and priority.ENABLED.read_text().strip() == "1"):
        return  # nice alone decides there
    reads = f"print(open('{priority.AUTOGROUP}').read())"
    done = subprocess.run(
        priority.command(19, (sys.executable, "-c", reads)),
        capture_output=True,
        text=True,
        cwd=root(),
        check=True,
    )
    group, _, nice = done.stdout.partition(" nice ")
    assert int(nice) == 19
    assert group not in Path(priority.AUTOGROUP).read_text()

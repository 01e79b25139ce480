import pytest
import workloads
from workloads import WORKLOADS


@pytest.mark.parametrize("concurrency", [1, 8, 12, 32, 64])
@pytest.mark.parametrize("per_s", [0.0, 0.7, 31.0, 500.0])
def test_a_cell_is_whole_waves_of_whole_conversations(per_s: float, concurrency: int):
    count = workloads.requests(per_s, 5, concurrency)
    assert count % concurrency == 0
    assert count % workloads.REQUESTS_PER_CONVERSATION == 0
    assert count >= max(2 * concurrency, 16, per_s * 5)


def test_no_two_cells_send_the_same_prompts():
    cells = [
        (number, workload, concurrency)
        for number in [*range(10), 98, 99]
        for workload in WORKLOADS
        for concurrency in range(1, 1025)
    ]
    assert len({workloads.seed(*cell) for cell in cells}) == len(cells)
    assert all(0 <= workloads.seed(*cell) < 2**32 for cell in cells)


def line(name: str, count: int = 24) -> list[str]:
    return workloads.arguments(
        WORKLOADS[name],
        url="http://127.0.0.1:1",
        tokenizer="folder",
        model="care",
        adapters=["a", "b"],
        concurrency=8,
        count=count,
        seed=7,
    )


def value(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def test_short_replies_are_conversations_that_share_a_prefix():
    found = line("suggest")
    lengths = [value(found, f"--prefix-repetition-{part}-len") for part in ("prefix", "suffix")]
    assert sum(map(int, lengths)) == 512
    assert value(found, "--prefix-repetition-output-len") == "48"
    assert int(value(found, "--prefix-repetition-num-prefixes")) * 4 == 24
    assert value(found, "--served-model-name") == "care"
    assert "--lora-modules" not in found


def test_summaries_are_long_and_share_nothing():
    found = line("summaries")
    assert value(found, "--random-input-len") == "1500"
    assert value(found, "--random-output-len") == "128"
    assert value(found, "--random-prefix-len") == "0"


def test_adapters_are_asked_for_in_turn():
    found = line("adapters")
    start = found.index("--lora-modules")
    assert found[start + 1 : start + 3] == ["a", "b"]
    assert value(found, "--lora-assignment") == "round-robin"


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_answer_has_its_length_and_a_time_limit(name: str):
    found = line(name)
    assert "--ignore-eos" in found
    goodput = found[found.index("--goodput") + 1 :][:2]
    workload = WORKLOADS[name]
    assert goodput == [f"ttft:{workload.ttft_ms}", f"e2el:{workload.e2el_ms}"]

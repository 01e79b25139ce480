"""The workloads: what vLLM's client sends, how much of it, and what counts as good.

`suggest` is an agent desktop asking for the next reply: conversations of four requests that share
their first 384 tokens, 512 in, 48 out. `summaries` is 1500 in, 128 out, nothing shared. `adapters`
is 512 in, 48 out, each request through the next of eight adapters; nothing is shared, because a
prefix cache never serves one adapter's tokens to another. Every answer has exactly its length
(``--ignore-eos``), so that all servers do the same work.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

REQUESTS_PER_CONVERSATION = 4
WARMUPS = 4
ADAPTERS = 8
WARM_ROUND, CALIBRATION_ROUND = 98, 99  # their prompts are no measured round's


@dataclass(frozen=True)
class Workload:
    """One kind of traffic.

    Attributes:
        name: As the results call it.
        inputs: Prompt tokens, before the chat template.
        outputs: Tokens of each answer.
        shared: Tokens of the prompt that a conversation's requests share.
        adapters: Whether requests name adapters in turn.
        ttft_ms: A good answer's first token comes within this.
        e2el_ms: And its last within this.
    """

    name: str
    inputs: int
    outputs: int
    shared: int
    adapters: bool
    ttft_ms: int
    e2el_ms: int


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("suggest", 512, 48, 384, False, 500, 2000),
        Workload("summaries", 1500, 128, 0, False, 2000, 6000),
        Workload("adapters", 512, 48, 0, True, 500, 2000),
    )
}


def requests(per_s: float, seconds: float, concurrency: int) -> int:
    """How many requests a cell sends: about `seconds` at `per_s`, in whole waves.

    At least two waves and 16 requests, so that filling and draining the batch stays a part.
    """
    wave = math.lcm(concurrency, REQUESTS_PER_CONVERSATION)
    least = max(2 * concurrency, 16)
    return math.ceil(max(per_s * seconds, least) / wave) * wave


def seed(round_number: int, workload: str, concurrency: int) -> int:
    """The same for all servers in a cell of a round, and no other cell's: a prompt that came back
    would be answered from the prefix cache."""
    return (round_number * 100 + list(WORKLOADS).index(workload)) * 10_000 + concurrency


def arguments(
    workload: Workload,
    *,
    url: str,
    tokenizer: str,
    model: str,
    adapters: Sequence[str],
    concurrency: int,
    count: int,
    seed: int,
) -> list[str]:
    """The command line of `vllm bench serve` for a cell.

    Args:
        workload: What to send.
        url: The server's, without /v1.
        tokenizer: Folder of the model.
        model: The name to ask for.
        adapters: The names to ask for in turn instead, where the workload has adapters.
        concurrency: Requests in flight.
        count: Requests in all.
        seed: Of the prompts.
    """
    if workload.shared:
        data = [
            *("--dataset-name", "prefix_repetition"),
            *("--prefix-repetition-prefix-len", str(workload.shared)),
            *("--prefix-repetition-suffix-len", str(workload.inputs - workload.shared)),
            *("--prefix-repetition-num-prefixes", str(count // REQUESTS_PER_CONVERSATION)),
            *("--prefix-repetition-output-len", str(workload.outputs)),
        ]
    else:
        data = [
            *("--dataset-name", "random", "--random-prefix-len", "0"),
            *("--random-input-len", str(workload.inputs)),
            *("--random-output-len", str(workload.outputs)),
        ]
    if workload.adapters:
        data += ["--lora-assignment", "round-robin", "--lora-modules", *adapters]
    return [
        *("--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--base-url", url),
        *("--model", tokenizer, "--served-model-name", model, "--tokenizer", tokenizer),
        *data,
        *("--ignore-eos", "--num-prompts", str(count), "--seed", str(seed)),
        *("--max-concurrency", str(concurrency), "--num-warmups", str(WARMUPS)),
        *("--disable-tqdm", "--percentile-metrics", "ttft,itl,e2el"),
        *("--metric-percentiles", "50,95,99"),
        *("--goodput", f"ttft:{workload.ttft_ms}", f"e2el:{workload.e2el_ms}"),
    ]


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Times of a Poisson process, in seconds from its start, ascending."""
    draw = random.Random(seed)
    found, at = [], draw.expovariate(rate)
    while at < seconds:
        found.append(at)
        at += draw.expovariate(rate)
    return found

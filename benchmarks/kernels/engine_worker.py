"""One vLLM engine that answers workloads given on standard input; started by ``end_to_end.py``.

A line in is ``{"mix": ["base", "adapter-1", …], "requests": 128}``; a line out is
``{"seconds": …, "requests": …, "tokens": …, "ttft_ms": …}``. Requests take the mix's models in
turn and run 32 at a time through ``AsyncLLM``, as a server would have it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any


async def timed_request(
    engine: Any, number: int, prompt: list[int], lora: Any, sampling: Any
) -> tuple[int, float]:
    """Run one request; returns its new tokens and its time to first token in seconds."""
    start = time.perf_counter()
    first = 0.0
    tokens = 0
    stream = engine.generate(
        {"prompt_token_ids": prompt}, sampling, f"request-{number}", lora_request=lora
    )
    async for output in stream:
        first = first or time.perf_counter() - start
        tokens = len(output.outputs[0].token_ids)
    return tokens, first


async def serve(arguments: argparse.Namespace) -> None:
    """Start the engine, then answer workloads until standard input ends."""
    import torch
    from vllm import AsyncEngineArgs, SamplingParams
    from vllm.lora.request import LoRARequest
    from vllm.v1.engine.async_llm import AsyncLLM

    lora: dict[str, Any] = {}
    if arguments.adapters:
        lora = {
            "enable_lora": True,
            "max_loras": len(arguments.adapters),
            "max_lora_rank": arguments.rank,
        }
    engine = AsyncLLM.from_engine_args(
        AsyncEngineArgs(
            model=str(arguments.model),
            dtype=arguments.dtype,
            **lora,
            max_model_len=arguments.prompt_tokens + arguments.new_tokens + 8,
            max_num_seqs=arguments.concurrency,
            enable_prefix_caching=False,
            seed=0,
            disable_log_stats=True,
        )
    )
    loras = {
        path.name: LoRARequest(path.name, number, str(path))
        for number, path in enumerate(arguments.adapters, start=1)
    }
    sampling = SamplingParams(
        temperature=0.0,
        max_tokens=arguments.new_tokens,
        ignore_eos=True,
    )

    generator = torch.Generator().manual_seed(3)
    issued = 0
    print(json.dumps({"ready": True}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        limit = asyncio.Semaphore(arguments.concurrency)

        async def one(
            number: int, model: str, prompt: list[int], limit: asyncio.Semaphore = limit
        ) -> tuple[int, float]:
            async with limit:
                return await timed_request(engine, number, prompt, loras.get(model), sampling)

        prompts = torch.randint(
            1, 257, (order["requests"], arguments.prompt_tokens), generator=generator
        ).tolist()
        start = time.perf_counter()
        done = await asyncio.gather(
            *(
                one(issued + i, order["mix"][i % len(order["mix"])], prompt)
                for i, prompt in enumerate(prompts)
            )
        )
        seconds = time.perf_counter() - start
        issued += order["requests"]
        answer = {
            "seconds": seconds,
            "requests": len(done),
            "tokens": sum(tokens for tokens, _ in done),
            "ttft_ms": 1e3 * statistics.median(first for _, first in done),
        }
        print(json.dumps(answer), flush=True)
    engine.shutdown()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--adapters", type=Path, nargs="*", default=[], help="none: no LoRA at all")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=32)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()

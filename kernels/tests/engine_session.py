"""Run in a process of its own by the engine tests: one real vLLM engine, alone and mixed batches.

Usage: ``python engine_session.py FOLDER``, with the checkpoint and the adapters in FOLDER. Writes
FOLDER/outputs.json: greedy token ids of every request decoded alone and within one mixed batch.
"""

import json
import sys
from pathlib import Path


def main(folder: Path) -> None:
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    plan = json.loads((folder / "plan.json").read_text())
    llm = LLM(
        model=str(folder / "base"),
        dtype=plan["dtype"],
        enable_lora=True,
        max_loras=plan["slots"],
        max_lora_rank=16,
        max_model_len=256,
        max_num_seqs=32,
        enforce_eager=plan["eager"],
        enable_prefix_caching=False,
        seed=0,
    )
    adapters = {
        name: LoRARequest(name, number, str(folder / name))
        for number, name in enumerate(plan["adapters"], start=1)
    }
    sampling = SamplingParams(
        temperature=0.0, max_tokens=plan["new_tokens"], ignore_eos=True, detokenize=False
    )
    prompts = [{"prompt_token_ids": request["tokens"]} for request in plan["requests"]]
    lora = [adapters.get(request["model"]) for request in plan["requests"]]

    def tokens(outputs: list) -> list:
        return [list(output.outputs[0].token_ids) for output in outputs]

    alone = [
        tokens(llm.generate([prompt], sampling, lora_request=[which], use_tqdm=False))[0]
        for prompt, which in zip(prompts, lora, strict=True)
    ]
    mixed = tokens(llm.generate(prompts, sampling, lora_request=lora, use_tqdm=False))
    (folder / "outputs.json").write_text(json.dumps({"alone": alone, "mixed": mixed}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

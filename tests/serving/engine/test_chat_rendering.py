"""vLLM renders what training renders: its own renderer, without an engine, beside ours.

It is imported in a process of its own, since it changes the process that it is in.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving import chat_template
from tests.chat_templates import NAMES, QWEN3, tokenizer_of
from tests.tiny_checkpoint import make_checkpoint

CHATS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "Where is it?"}],
    [
        {"role": "system", "content": "Be kind. "},
        {"role": "user", "content": " Hello\n\nthere é"},
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "On its way."},
        {"role": "user", "content": "When?"},
    ],
]
KWARGS: list[dict[str, Any]] = [{}, {"enable_thinking": True}]


@pytest.mark.slow
def test_vllm_gives_the_engine_the_tokens_that_training_learns_from(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", layers=1)
    for name, template in NAMES.items():
        tokenizer_of(template).save_pretrained(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(base), str(tmp_path)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    served = json.loads(done.stdout.splitlines()[-1])
    assert len(served) == len(NAMES) * len(CHATS) * len(KWARGS)
    for name, template in NAMES.items():
        tokenizer = tokenizer_of(template)
        found = chat_template.probe(tokenizer)
        for i, chat in enumerate(CHATS):
            for j, own in enumerate(KWARGS):
                text = found.text(tokenizer, chat, asks=True, own=own)
                assert served[f"{name} {i} {j}"] == chat_template.tokens(tokenizer, text)
    thinks = [served[f"qwen3 0 {j}"] for j in range(2)]
    assert thinks[0] != thinks[1], QWEN3


def main(base: str, folder: Path) -> None:
    """Print what vLLM renders of each chat, by template and variables."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.renderers import renderer_from_config

    served: dict[str, list[int]] = {}
    for name in NAMES:
        args = AsyncEngineArgs(model=base, tokenizer=str(folder / name), max_model_len=512)
        renderer = renderer_from_config(args.create_engine_config())
        found = chat_template.probe(renderer.tokenizer)
        for i, chat in enumerate(CHATS):
            for j, own in enumerate(KWARGS):
                body = found.body({"messages": chat, "chat_template_kwargs": own})
                request = ChatCompletionRequest(**body)
                params = request.build_chat_params(None, "auto").with_defaults(dict(found.kwargs))
                tokens = request.build_tok_params(renderer.model_config)
                _, (prompt,) = renderer.render_chat([request.messages], params, tokens)
                served[f"{name} {i} {j}"] = list(prompt["prompt_token_ids"])
    sys.stdout.write(json.dumps(served) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

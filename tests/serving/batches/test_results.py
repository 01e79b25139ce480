"""The names and lines of a batch's results."""

import json

from serving.api.arrival import is_recent
from serving.batches import results
from serving.gateway.direct import Answer
from serving.store.files.records import new_id

BATCH = new_id("batch_")


def test_the_same_line_has_the_same_request_and_others_have_others() -> None:
    ids = [results.request_id(BATCH, line, attempt) for line in (1, 2, 12) for attempt in (0, 1)]
    assert len(set(ids)) == 6
    assert ids[0] == results.request_id(BATCH, 1, 0)
    assert all(is_recent(f"chatcmpl-{id_}") for id_ in ids), "its form is every request's"


def test_output_files_have_names_of_their_own() -> None:
    names = {results.file_id(BATCH, kind) for kind in (results.OUTPUT, results.ERRORS)}
    assert len(names) == 2
    assert all(len(name) == len(new_id("file-")) for name in names)


def test_lines_have_openais_form() -> None:
    answer = Answer(200, b'{"id": "x"}')
    line = results.answered(BATCH, 7, "seven", "r", answer)
    assert line.endswith(b"}\n")
    found = json.loads(line)
    assert found.pop("id").startswith("batch_req_")
    response = {"status_code": 200, "request_id": "r", "body": {"id": "x"}}
    assert found == {"custom_id": "seven", "response": response, "error": None}
    late = json.loads(results.expired(BATCH, 7, "seven"))
    assert late["response"] is None
    assert late["error"]["code"] == "batch_expired"


def test_a_body_that_is_no_json_is_kept_as_text() -> None:
    found = json.loads(results.answered(BATCH, 1, "a", "r", Answer(500, b"\xffInternal")))
    assert found["response"]["body"] == "\ufffdInternal"

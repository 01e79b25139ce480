"""/v1/responses/{id}: nobody reads a response by its id, whoever made it."""

import openai
import pytest

from tests.serving.gateway.conftest import Site
from tests.serving.gateway.test_embeddings import client


async def test_a_response_is_not_kept_for_anybody_who_knows_its_id(site: Site) -> None:
    async with await client(site) as mine, await client(site, ["agent"]) as other:
        made = await mine.responses.with_raw_response.create(model="care", input="hi")
        id_ = made.http_response.json()["id"]
        assert id_.startswith("resp_")
        _, asked = site.asked[-1]
        assert asked["store"] is False, "the engine is told not to keep it"
        for who in (mine, other):
            for asking in (
                who.responses.retrieve(id_),
                who.responses.delete(id_),
                who.responses.cancel(id_),
            ):
                with pytest.raises(openai.NotFoundError, match="responses are not stored") as told:
                    await asking
                assert told.value.code == "not_found"
                assert told.value.param == "response_id"
            with pytest.raises(openai.NotFoundError, match="responses are not stored"):
                await who.responses.input_items.list(id_)
    assert len(site.asked) == 1, "the engine is never asked for one"


async def test_one_that_never_was_gets_the_same_answer(site: Site) -> None:
    async with await site.http(["service"], ["care"]) as http:
        said = await http.get("/v1/responses/resp_none?stream=true")
        assert (said.status_code, said.json()["error"]["type"]) == (404, "invalid_request_error")
        assert (await http.put("/v1/responses/resp_none")).status_code == 405
    async with await site.http(["reviewer"], ["care"]) as http:
        assert (await http.get("/v1/responses/resp_none")).status_code == 403

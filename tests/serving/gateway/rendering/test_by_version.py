"""One request, rendered for each version that may be asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.config import prompts
from serving.config.lobs import Lob
from serving.config.prompts import Task
from serving.errors import InvalidRequest
from serving.gateway import tasks
from serving.gateway.rendering.by_version import ByVersion
from serving.untrusted_text import SpecialTokens
from tests.serving.gateway.conftest import Site
from tests.serving.gateway.rendering.conftest import Bring

CONFIGURED = prompts.load(Path("configs/prompts"), ["care"])
TALK = [{"role": "customer", "text": "Hi <|im_end|>"}, {"role": "agent", "text": "Hello"}]
Rendering = Callable[..., ByVersion]


@pytest.fixture
def rendering(site: Site) -> Rendering:
    def make(task: Task, **fields: Any) -> ByVersion:
        lobs = {"care": Lob()}
        asked = tasks.parse({"lob": "care", "conversation": TALK} | fields, lobs, frozenset(), "")
        configured = CONFIGURED["care", tasks.prompt_of(task, asked)]
        tokens = SpecialTokens(["<|im_end|>"])
        return ByVersion(task, asked, configured, lobs["care"], site.adapters, tokens)

    return make


async def test_each_version_is_asked_by_its_own_prompt_and_the_rest_by_the_line_s(
    rendering: Rendering, bring: Bring
) -> None:
    own = await bring(suggestion="OWN {{ turns[0].text }}")
    other = await bring(suggestion="OTHER")
    plain = await bring(summary="OF SUMMARIES")
    render = rendering("suggestion")
    for _ in range(2):  # in whichever order they are asked
        said, prompt = render(own)
        assert said == [{"role": "user", "content": "OWN Hi < |im_end|>"}]
        assert prompt.name == f"{own}/suggestion"
        assert render(other).messages == [{"role": "user", "content": "OTHER"}]
        for version in (plain, "base", None):
            said, prompt = render(version)
            assert prompt is CONFIGURED["care", "suggestion"]
            assert "Hi < |im_end|>" in said[-1]["content"]


async def test_a_body_differs_between_versions_in_its_messages_alone(
    rendering: Rendering, bring: Bring
) -> None:
    own = await bring(suggestion="OWN")
    of_line, of_own = (rendering("suggestion").body(version) for version in (None, own))
    assert of_line.pop("messages") != of_own.pop("messages")
    assert of_line == of_own


async def test_a_hand_over_is_a_task_with_a_prompt_of_its_own(
    rendering: Rendering, bring: Bring
) -> None:
    own = await bring(summary="SUMMARY", handover="HANDOVER")
    render = rendering("summary", **{"for": "handover"})
    assert render(own).messages == [{"role": "user", "content": "HANDOVER"}]
    assert rendering("summary")(own).prompt.name == f"{own}/summary"


async def test_a_draft_ends_the_messages_whichever_prompt_makes_them(
    rendering: Rendering, bring: Bring
) -> None:
    own = await bring(suggestion="OWN")
    body = rendering("suggestion", draft="I am ").body(own)
    assert body["messages"] == [
        {"role": "user", "content": "OWN"},
        {"role": "assistant", "content": "I am"},
    ]
    assert body["continue_final_message"] is True


async def test_a_version_goes_on_from_a_summary_where_its_own_prompt_tells_of_it(
    rendering: Rendering, bring: Bring
) -> None:
    tells = await bring(summary="{{ previous }} THEN {% for t in turns %}{{ t.text }}{% endfor %}")
    not_ = await bring(summary="OWN")
    render = rendering("summary", previous={"summary": "It broke.", "turns": 1})
    assert render(tells).messages[0]["content"] == "It broke. THEN Hello"
    with pytest.raises(InvalidRequest, match=rf"{not_}/summary\.jinja has no variable"):
        render(not_)


async def test_what_is_not_loaded_is_not_guessed(rendering: Rendering, bring: Bring) -> None:
    own = await bring(load=False, suggestion="OWN")
    with pytest.raises(KeyError):
        rendering("suggestion")(own)

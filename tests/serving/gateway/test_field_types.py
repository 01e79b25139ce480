from typing import Any

import pytest

from serving.errors import InvalidRequest
from serving.gateway import field_types


@pytest.mark.parametrize("good", [{}, {"messages": []}, {"structured_outputs": {"regex": "a"}}])
def test_fields_of_the_right_type_pass(good: dict[str, Any]) -> None:
    field_types.check(good | {"structured_outputs": good.get("structured_outputs")})


@pytest.mark.parametrize("value", [True, 0, "x", 1e300])
@pytest.mark.parametrize("name", ["messages", "structured_outputs"])
def test_fields_of_another_type_are_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        field_types.check({name: value})
    assert refused.value.param == name


@pytest.mark.parametrize(("name", "value"), [("messages", None), ("structured_outputs", [])])
def test_null_messages_and_a_list_for_an_object_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest):
        field_types.check({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("n", wrong) for wrong in ("16384", 0, -1, 2.0, True, [2])),
        *(("best_of", wrong) for wrong in ("2", 0)),
        *(("max_tokens", wrong) for wrong in ("5", 5.0, True)),
        *(("priority", wrong) for wrong in ("-9", 1.5)),
        *(("temperature", wrong) for wrong in ("0.5", True, [1])),
        *(("top_k", wrong) for wrong in ("5", 5.0)),
        *(("seed", wrong) for wrong in ("1", 1.0)),
        *(("skip_special_tokens", wrong) for wrong in ("false", 0)),
        *(("stream", wrong) for wrong in ("true", 1)),
        *(("model", wrong) for wrong in (["care"], 1)),
        *(("prompt", wrong) for wrong in (7, {}, ["a", 1], [[1], "a"], [["a"]], [None])),
    ],
)
def test_what_we_decide_by_is_taken_in_its_own_type_only(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        field_types.check({name: value})
    assert refused.value.param == name


@pytest.mark.parametrize("prompt", [None, "a", [], [1, 2], ["a", "b"], [[1], [2, 3]]])
def test_prompts_of_every_form_that_can_be_counted_pass(prompt: Any) -> None:
    field_types.check({"prompt": prompt})


@pytest.mark.parametrize("value", ["false", 0, 1])
def test_a_switch_in_stream_options_is_true_or_false(value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        field_types.check({"stream_options": {"include_usage": value}})
    assert refused.value.param == "stream_options.include_usage"


@pytest.mark.parametrize("temperature", [0, 0.5, None])
def test_a_number_may_be_whole(temperature: Any) -> None:
    field_types.check({"temperature": temperature, "stream_options": {"include_usage": True}})

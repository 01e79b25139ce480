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

"""Fields are taken in their own JSON type, all of them, and vLLM converts none that passes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from serving import endpoints
from serving.errors import InvalidRequest
from serving.gateway.validation import field_types
from serving.gateway.validation.allowed_fields import FIELDS

CHAT = endpoints.CHAT_COMPLETIONS


@pytest.mark.parametrize("good", [{}, {"messages": []}, {"structured_outputs": {"regex": "a"}}])
def test_fields_of_the_right_type_pass(good: dict[str, Any]) -> None:
    field_types.check(CHAT, good | {"structured_outputs": good.get("structured_outputs")})


@pytest.mark.parametrize("value", [True, 0, "x", 1e300])
@pytest.mark.parametrize("name", ["messages", "structured_outputs"])
def test_fields_of_another_type_are_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        field_types.check(CHAT, {name: value})
    assert refused.value.param == name


@pytest.mark.parametrize(("name", "value"), [("messages", None), ("structured_outputs", [])])
def test_null_messages_and_a_list_for_an_object_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest):
        field_types.check(CHAT, {name: value})


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
        *(("logprobs", wrong) for wrong in ("true", 1, 0, [])),
        *(("suffix", wrong) for wrong in (1, ["a"])),
        *(("truncation_side", wrong) for wrong in (1, True, ["left"])),
        *(("reasoning_effort", wrong) for wrong in (1, {}, ["low"])),
        *(("truncation", wrong) for wrong in (False, {})),
        *(("stop", wrong) for wrong in (1, ["a", 1], [None], {})),
        *(("stop_token_ids", wrong) for wrong in ("1", 1, ["1"], [1.0], [True], [None])),
        *(("allowed_token_ids", wrong) for wrong in (["1"], {}, [[1]])),
        *(("bad_words", wrong) for wrong in ("a", [1], [["a"]])),
        *(("logit_bias", wrong) for wrong in ([], {"1": "2"}, {"1": True}, {" 1": 2}, {"²": 1})),
        *(("logit_bias", wrong) for wrong in ({"1_0": 2}, {"-1": 2}, {"": 2}, {"1": None})),
        *(("prompt", wrong) for wrong in (7, {}, ["a", 1], [[1], "a"], [["a"]], [None])),
    ],
)
def test_what_we_decide_by_is_taken_in_its_own_type_only(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        field_types.check(CHAT, {name: value})
    assert refused.value.param == name


@pytest.mark.parametrize("prompt", [None, "a", [], [1, 2], ["a", "b"], [[1], [2, 3]]])
def test_prompts_of_every_form_that_can_be_counted_pass(prompt: Any) -> None:
    field_types.check(CHAT, {"prompt": prompt})


@pytest.mark.parametrize("value", ["false", 0, 1])
def test_a_switch_in_stream_options_is_true_or_false(value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        field_types.check(CHAT, {"stream_options": {"include_usage": value}})
    assert refused.value.param == "stream_options.include_usage"


@pytest.mark.parametrize("temperature", [0, 0.5, None])
def test_a_number_may_be_whole(temperature: Any) -> None:
    field_types.check(CHAT, {"temperature": temperature, "stream_options": {"include_usage": True}})


# What these hold has types of its own, which vLLM (or OpenAI's library) checks; of theirs we read
# only what other modules check: parts (media.py), schemas (grammar_limits.py), switches of a
# template and kinds of a tool (allowed_fields.py).
INNER_TYPES = frozenset(
    {
        *("messages", "input", "tools", "tool_choice", "response_format", "structured_outputs"),
        *("reasoning", "text", "chat_template_kwargs", "stream_options"),
    }
)
REFUSED = object()
FOR_UPSTREAMS = frozenset({"best_of"})
"""Fields that vLLM does not know."""
NEEDED = {"logprob_token_ids": {CHAT: {"logprobs": True}, endpoints.COMPLETIONS: {"logprobs": 1}}}
"""What vLLM takes a field with only."""
EVERY = [(path, name) for path in FIELDS for name in sorted(FIELDS[path])]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 5000)
    | st.floats(-3, 3)
    | st.sampled_from([1.0, 2.0, "1", "2.5", " 7 ", "1e3", "true", "off", "auto", "left", "none"])
    | st.text(max_size=5)
)
VALUES = (
    SCALARS
    | st.lists(SCALARS, max_size=3)
    | st.lists(st.integers(0, 9), max_size=3)
    | st.lists(st.text(max_size=3), max_size=3)
    | st.lists(st.lists(st.integers(0, 9), max_size=2), max_size=2)
    | st.dictionaries(
        st.text(max_size=3) | st.sampled_from(["1", " 2", "3_0"]), SCALARS, max_size=2
    )
)


Bodies = dict[str, tuple[Any, dict[str, Any]]]


def same(sent: Any, read: Any) -> bool:
    """Whether vLLM reads what was sent: equal, and no number for a text or for true."""
    if isinstance(sent, list):
        return isinstance(read, list) and len(sent) == len(read) and all(map(same, sent, read))
    if isinstance(sent, dict):
        return (
            isinstance(read, dict)
            and sent.keys() == read.keys()
            and all(same(sent[key], read[key]) for key in sent)
        )
    if isinstance(sent, bool | str) or isinstance(read, bool | str):
        return type(sent) is type(read) and sent == read
    return bool(sent == read)


def read_by_vllm(bodies: Bodies, path: str, name: str, value: Any) -> Any:
    """What vLLM reads, or REFUSED: out of range, or what needs another field."""
    from vllm.exceptions import VLLMError

    model, least = bodies[path]
    needed = NEEDED.get(name, {}).get(path, {})
    try:
        read = model.model_validate({**least, **needed, name: value})
    except (ValidationError, VLLMError):
        return REFUSED
    return vars(read)[name]  # an attribute that OpenAI has deprecated warns


def refused(path: str, name: str, value: Any) -> InvalidRequest | None:
    try:
        field_types.check(path, {name: value})
    except InvalidRequest as exc:
        return exc
    return None


def test_every_field_that_may_pass_has_a_type() -> None:
    assert not [(path, name) for path, name in EVERY if field_types.kind(path, name) is None]
    assert set(field_types.KINDS) <= {name for _, name in EVERY}, "a type of no field"


@pytest.mark.parametrize(("path", "name"), EVERY)
def test_what_passes_vllm_reads_as_it_was_sent(vllm_bodies: Bodies, path: str, name: str) -> None:
    @settings(max_examples=60, database=None, derandomize=True)
    @given(value=VALUES)
    def check(value: Any) -> None:
        refusal = refused(path, name, value)
        if refusal is not None:
            assert (refusal.param or "").startswith(name)
            return
        if name in INNER_TYPES or name in FOR_UPSTREAMS or value is None:
            return
        read = read_by_vllm(vllm_bodies, path, name, value)
        assert read is REFUSED or same(value, read), (value, read)

    check()


OF_ITS_TYPE: dict[str, Any] = {
    "stop": ["a"],
    "stop_token_ids": [1],
    "allowed_token_ids": [1],
    "logprob_token_ids": [1],
    "bad_words": ["a"],
    "include": ["message.output_text.logprobs"],
    "logit_bias": {"5": 1},
    "metadata": {"a": "b"},
    "truncation_side": "left",
    "truncation": "auto",
    "reasoning_effort": "low",
    "suffix": "a",
}


@pytest.mark.parametrize(("path", "name"), [(p, n) for p, n in EVERY if n in OF_ITS_TYPE])
def test_a_value_of_its_type_passes_and_vllm_takes_it(
    vllm_bodies: Bodies, path: str, name: str
) -> None:
    value = OF_ITS_TYPE[name]
    field_types.check(path, {name: value})
    assert same(value, read_by_vllm(vllm_bodies, path, name, value))


@pytest.mark.parametrize(("path", "value"), [(CHAT, True), (endpoints.COMPLETIONS, 2)])
def test_logprobs_are_whether_or_how_many(path: str, value: Any) -> None:
    field_types.check(path, {"logprobs": value})
    other = endpoints.COMPLETIONS if path == CHAT else endpoints.SUGGESTIONS
    with pytest.raises(InvalidRequest):
        field_types.check(other, {"logprobs": value} if path == CHAT else {"logprobs": 2})

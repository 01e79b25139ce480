import json
from typing import Any

import pytest

from serving.config.limits import GrammarLimits
from serving.errors import InvalidRequest
from serving.gateway.validation import grammar_limits

LIMITS = GrammarLimits()
HOSTILE = "((a{0,500}){0,500}){0,500}"
LEGITIMATE = [
    r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?)?",
    r"[A-Z]{2}\d{6}",
    r"[a-z0-9._%+-]{1,64}@[a-z0-9.-]{1,255}\.[a-z]{2,10}",
    r"(yes|no|maybe)",
    r"([A-Z][a-z]{1,20} ){1,10}",
    r"(.{1,200}\n){1,20}",
    r"\+?\d{1,3}[ -]?(\(\d{1,4}\))?[ -]?\d{3,12}",
    r"#([0-9a-f]{3}){1,2}",
    r"(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}",
    r"\{\"name\": \"[a-z]+\"\}",
    r"[({]{2,5000}\({5000}",
    "a{0,10000}",
]


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    ("pattern", "comes_to"),
    [
        ("", 1),
        ("abc", 1),
        ("a{7}", 7),
        ("a{2,7}b{3,5}", 7),
        ("a{3,}", 3),
        ("a{,8}", 8),
        ("(a{10}b){20}", 200),
        ("((a{2}){3}){4}b{5}", 24),
        ("((a{2})b){3}", 6),
        ("(?:a{20}){30}?", 600),
        ("a{20}{30}", 600),
        ("(a{9})b{9}", 9),
        ("(a{9})*{9}", 9),
        (r"(a{9}\){9}", 9),
        (r"\(a{9}\){9}", 9),
        (r"(\{9\}){2}", 2),
        ("[({9})]{5}", 5),
        ("[]a{4}]{5}", 5),
        ("(a{0, 9}){ 9 }", 81),
        (")(a{2}){3}(", 6),
        (HOSTILE, 125_000_000),
        ("a{99999999999999999999}", 999_999_999),
    ],
)
def test_nested_counts_are_multiplied(pattern: str, comes_to: int) -> None:
    assert grammar_limits.repetitions(pattern) == comes_to


@pytest.mark.parametrize("pattern", LEGITIMATE)
def test_what_people_write_passes(pattern: str) -> None:
    grammar_limits.check({"structured_outputs": {"regex": pattern}}, LIMITS)
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": pattern}}}
    grammar_limits.check({"structured_outputs": {"json": schema}}, LIMITS)
    grammar_limits.check({"structured_outputs": {"json": json.dumps(schema)}}, LIMITS)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"structured_outputs": None},
        {"structured_outputs": {"json_object": True, "json": "{", "regex": 7, "choice": ["a"]}},
        {"structured_outputs": {"json": deep(20), "grammar": 'root ::= "(((({9999})" [a-z]{1,9}'}},
        {"structured_outputs": {"grammar": "root ::= a{9} # (((({99999})\na ::= [{99999}]"}},
        {"response_format": "json", "tools": "x", "text": []},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": deep(20)}}},
        {"tools": [None, {"type": "function", "function": {"parameters": deep(20)}}]},
        {"structured_outputs": {"json": {"properties": {"pattern": {"maxLength": 10_000}}}}},
    ],
)
def test_ordinary_requests_and_those_for_vllm_to_judge_pass(request_: dict[str, Any]) -> None:
    grammar_limits.check(request_, LIMITS)


TAG = {
    "type": "structural_tag",
    "format": {"type": "tag", "content": {"type": "regex", "pattern": HOSTILE}},
}


@pytest.mark.parametrize(
    ("param", "request_"),
    [
        ("structured_outputs.regex", {"structured_outputs": {"regex": HOSTILE}}),
        ("structured_outputs.regex", {"structured_outputs": {"regex": "(" * 65 + ")" * 65}}),
        ("structured_outputs.regex", {"structured_outputs": {"regex": "a?" * 40_000}}),
        ("structured_outputs.regex", {"structured_outputs": {"regex": "a{1000000000}"}}),
        ("structured_outputs.whitespace_pattern", {"structured_outputs": {
            "json": {}, "whitespace_pattern": HOSTILE}}),
        ("structured_outputs.grammar", {"structured_outputs": {"grammar": f"root ::= {HOSTILE}"}}),
        ("structured_outputs.choice", {"structured_outputs": {"choice": ["word"] * 20_000}}),
        ("structured_outputs.json", {"structured_outputs": {"json": deep(33)}}),
        ("structured_outputs.json", {"structured_outputs": {"json": json.dumps(deep(33))}}),
        ("structured_outputs.json", {"structured_outputs": {"json": {"enum": ["a" * 70_000]}}}),
        ("structured_outputs.json", {"structured_outputs": {"json": {"maxItems": 10_001}}}),
        ("structured_outputs.json", {"structured_outputs": {"json": {"minLength": 1e9}}}),
        ("structured_outputs.json", {"structured_outputs": {
            "json": {"patternProperties": {HOSTILE: {}}}}}),
        ("structured_outputs.structural_tag", {"structured_outputs": {
            "structural_tag": json.dumps(TAG)}}),
        ("response_format", {"response_format": TAG}),
        ("response_format", {"response_format": {"type": "json_schema", "json_schema": {
            "schema": {"type": "array", "items": {"pattern": HOSTILE}}}}}),
        ("text", {"text": {"format": {"type": "json_schema", "schema": {"pattern": HOSTILE}}}}),
        ("tools[1]", {"tools": [{}, {"function": {"parameters": {"pattern": HOSTILE}}}]}),
    ],
)  # fmt: skip
def test_what_would_search_without_end_is_refused_by_name(
    param: str, request_: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest, match=r"limits\.grammars\.") as refused:
        grammar_limits.check(request_, LIMITS)
    assert refused.value.param == param


def test_bounds_are_settings() -> None:
    asked = {"structured_outputs": {"regex": "(a{10}b){20}"}}
    grammar_limits.check(asked, GrammarLimits(max_repetitions=200))
    with pytest.raises(InvalidRequest):
        grammar_limits.check(asked, GrammarLimits(max_repetitions=199))

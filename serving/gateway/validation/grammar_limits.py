"""Bounds on what a client may ask an answer to match: a schema, a regular expression, a grammar.

A few characters can ask for a search without end: ``((a{0,500}){0,500}){0,500}`` freezes an engine
whose backend is xgrammar, for all its requests, since the mask of allowed tokens is filled in the
engine's step. `engine/engine.py` therefore chooses guidance, which gives up after a bounded search;
the bounds here refuse the plainly absurd before it reaches the engine, with the field's name.

Counted repetitions bound by product what they nest: (a{10}b){20} is 200.
"""

import re
from typing import Any

import orjson

from serving.config.limits import GrammarLimits
from serving.errors import InvalidRequest

_COUNTS = frozenset(
    f"{least}{what}" for least in ("min", "max") for what in ("Length", "Items", "Properties")
)
_COUNTED = re.compile(r"\{\s*(\d*)\s*,?\s*(\d*)\s*\}")
_LITERAL = re.compile(
    r'"(?:\\.|[^"\\\n])*"|#[^\n]*'  # a grammar's strings and comments
)
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_STEP = re.compile(r"\\.|[()]|\{\s*\d*\s*,?\s*\d*\s*\}", re.DOTALL)


def check(request: dict[str, Any], limits: GrammarLimits) -> None:
    """Check all that a request to the engine asks an answer to match.

    Args:
        request: The request as the client sent it.
        limits: The bounds.

    Raises:
        InvalidRequest: Something is beyond a bound; the error names the field.
    """
    given = request.get("structured_outputs")
    if isinstance(given, dict):
        for name, value in given.items():
            _check_constraint(f"structured_outputs.{name}", name, value, limits)
    for name in ("response_format", "text"):
        if isinstance(value := request.get(name), dict):
            _check_value(name, value, limits)
    tools = request.get("tools")
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        if isinstance(tool, dict):
            _check_value(f"tools[{number}]", tool, limits)


def repetitions(pattern: str) -> int:
    """How often the counted repetitions of a pattern repeat what lies deepest in them.

    An open end counts as its beginning: ``{3,}`` is 3.
    """
    pattern = _CLASS.sub("x", pattern)
    inner = [1]  # for each open group, the most that lies in it
    last = 1  # of what was read last, which a count would repeat
    for step in _STEP.finditer(pattern):
        text = step[0]
        if text == "(":
            inner.append(1)
            last = 1
        elif text == ")":
            last = inner.pop() if len(inner) > 1 else 1
        elif counted := _COUNTED.fullmatch(text):
            before = pattern[step.start() - 1 : step.start()]
            repeated = last if before in {")", "}"} else 1
            last = repeated * max([1, *(int(n[:9]) for n in counted.groups() if n)])
        else:
            last = 1
        inner[-1] = max(inner[-1], last)
    return max(inner)


def depth(pattern: str) -> int:
    """How deep a pattern's groups nest."""
    deepest = now = 0
    for step in _STEP.finditer(_CLASS.sub("x", pattern)):
        now += {"(": 1, ")": -1}.get(step[0], 0)
        deepest = max(deepest, now)
    return deepest


def _check_constraint(param: str, name: str, value: Any, limits: GrammarLimits) -> None:
    """Check one field of `structured_outputs`."""
    if name in {"regex", "whitespace_pattern", "grammar"}:
        if isinstance(value, str):
            _check_text(param, value, limits)
            _check_pattern(param, value, limits, grammar=name == "grammar")
    elif isinstance(value, str) and name in {"json", "structural_tag"}:
        _check_text(param, value, limits)
        try:
            _check_value(param, orjson.loads(value), limits)
        except orjson.JSONDecodeError:
            return  # vLLM says so better
    elif isinstance(value, dict | list):
        _check_value(param, value, limits)


def _check_value(param: str, value: Any, limits: GrammarLimits) -> None:
    """Check a schema, or what holds schemas, patterns and grammars, without recursion."""
    if len(orjson.dumps(value)) > limits.max_bytes:
        raise InvalidRequest(
            f"`{param}` is longer than {limits.max_bytes} bytes (limits.grammars.max_bytes).",
            param=param,
        )
    level = [value]
    for _ in range(limits.max_depth + 1):
        below: list[Any] = []
        for node in level:
            if isinstance(node, list):
                below += node
            elif isinstance(node, dict):
                below += node.values()
                _check_keywords(param, node, limits)
        if not (level := below):
            return
    if any(isinstance(node, dict | list) for node in level):
        raise InvalidRequest(
            f"`{param}` nests deeper than {limits.max_depth} levels (limits.grammars.max_depth).",
            param=param,
        )


def _check_keywords(param: str, node: dict[str, Any], limits: GrammarLimits) -> None:
    """Check the keywords of one object of a schema or of a structural tag."""
    for key in ("pattern", "regex", "grammar"):
        if isinstance(text := node.get(key), str):
            _check_pattern(param, text, limits, grammar=key == "grammar")
    if isinstance(patterns := node.get("patternProperties"), dict):
        for pattern in patterns:
            _check_pattern(param, pattern, limits)
    for key in _COUNTS & node.keys():
        count = node[key]
        if isinstance(count, int | float) and count > limits.max_repetitions:
            raise InvalidRequest(
                f"`{param}`: {key} is above {limits.max_repetitions} "
                "(limits.grammars.max_repetitions).",
                param=param,
            )


def _check_text(param: str, text: str, limits: GrammarLimits) -> None:
    if len(text) > limits.max_bytes:
        raise InvalidRequest(
            f"`{param}` is longer than {limits.max_bytes} bytes (limits.grammars.max_bytes).",
            param=param,
        )


def _check_pattern(param: str, text: str, limits: GrammarLimits, *, grammar: bool = False) -> None:
    """Check a regular expression, or a grammar: what its counted repetitions come to, and depth."""
    if grammar:
        text = _LITERAL.sub('"', text)
    if repetitions(text) > limits.max_repetitions:
        raise InvalidRequest(
            f"`{param}`: counted repetitions in one another come to more than "
            f"{limits.max_repetitions} (limits.grammars.max_repetitions).",
            param=param,
        )
    if depth(text) > limits.max_depth:
        raise InvalidRequest(
            f"`{param}` nests deeper than {limits.max_depth} groups (limits.grammars.max_depth).",
            param=param,
        )

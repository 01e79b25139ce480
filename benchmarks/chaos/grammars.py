"""Hostile structured outputs: how long do vLLM's backends hold the engine's step up?

    python benchmarks/chaos/grammars.py [--limit 10]

Compiles each expression, schema or grammar with xgrammar and with llguidance (vLLM's ``guidance``)
in a process of its own, fills the mask of allowed tokens and accepts an ``a``, thirty times, as
the engine's step does, and notes the longest step. What does not end within the limit is killed
and counted. Needs no engine. Writes ``benchmarks/results/chaos/grammars.json``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import llguidance.numpy as masks  # here, so that a forked process need not load them in its time
import xgrammar as xgr
from llguidance import LLMatcher, LLTokenizer
from tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from environment import commit, environment, now  # noqa: E402

TOKENIZER = ROOT / ".cache" / "switchboard" / "demo-base" / "tokenizer.json"
RESULTS = ROOT / "benchmarks" / "results" / "chaos"
TOKENS = 30
REGEXES = [
    r"\d{4}-\d{2}-\d{2}",
    "((a{0,500}){0,500}){0,500}",
    "((a{0,20}){0,20}){0,20}",
    "((a{0,10}){0,10}){0,10}",
    "(a{0,500}){0,500}",
    "([a-z]{0,100} ?){0,100}",
    "([a-z]{0,30} ?){0,30}",
    "([a-z]+ ?){0,1000}",
    "([a-z]?){0,1000}",
    ".{0,1000}.{0,1000}.{0,1000}",
    "(.?.?.?.?.?.?.?.?){0,60}",
    "((a{0,2}){0,200}){0,200}",
    "(a|b)*a(a|b){20}",
    "(a+)+b",
    "a?" * 200,
    "[a-z]?" * 48,
]
SCHEMAS = [
    {"type": "string", "pattern": "((a{0,500}){0,500}){0,500}"},
    {"type": "string", "maxLength": 1_000_000},
]
GRAMMARS = [  # xgrammar's form, and Lark's
    (
        'root ::= a{0,20}\na ::= b{0,20}\nb ::= "a"{0,20}',
        'start: a{0,20}\na: b{0,20}\nb: "a"{0,20}',
    ),
]


def xgrammar(kind: str, text: str) -> tuple[Callable[[], Any], Callable[[], bool]]:
    """Compile; returns what fills the mask and what accepts an ``a``."""
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    info = xgr.TokenizerInfo(
        [word for word, _ in words], xgr.VocabType.BYTE_LEVEL, stop_token_ids=[0]
    )
    compiler = xgr.GrammarCompiler(info)
    compile_ = {
        "regex": compiler.compile_regex,
        "schema": compiler.compile_json_schema,
        "grammar": compiler.compile_grammar,
    }[kind]
    matcher = xgr.GrammarMatcher(compile_(text))
    mask = xgr.allocate_token_bitmask(1, info.vocab_size)
    if kind == "schema":
        matcher.accept_string('"')
    return lambda: matcher.fill_next_token_bitmask(mask, 0), lambda: matcher.accept_string("a")


def guidance(kind: str, text: str) -> tuple[Callable[[], Any], Callable[[], bool]]:
    """Compile; returns what fills the mask and what accepts an ``a``."""
    tokenizer = LLTokenizer(TOKENIZER.read_text())
    grammar = {
        "regex": LLMatcher.grammar_from_regex,
        "schema": LLMatcher.grammar_from_json_schema,
        "grammar": LLMatcher.grammar_from_lark,
    }[kind](text)
    matcher = LLMatcher(tokenizer, grammar, log_level=0)
    mask = masks.allocate_token_bitmask(1, tokenizer.vocab_size)
    if kind == "schema":
        matcher.consume_tokens(tokenizer.tokenize_str('"'))
    letter = tokenizer.tokenize_str("a")

    def accept() -> bool:
        return bool(matcher.consume_tokens(letter)) and not matcher.is_error()

    return lambda: masks.fill_next_token_bitmask(matcher, mask, 0), accept


def steps(backend: str, kind: str, text: str, out: Connection) -> None:
    """Compile, then fill and accept; sends (compile seconds, longest step's seconds)."""
    started = time.perf_counter()
    fill, accept = {"xgrammar": xgrammar, "guidance": guidance}[backend](kind, text)
    compiled, longest = time.perf_counter() - started, 0.0
    for _ in range(TOKENS):
        started = time.perf_counter()
        fill()
        going_on = accept()
        longest = max(longest, time.perf_counter() - started)
        if not going_on:
            break
    out.send((compiled, longest))


def measure(backend: str, kind: str, text: str, limit: float) -> dict[str, Any]:
    """Run `steps` in a process of its own; kill it at the limit."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=steps, args=(backend, kind, text, theirs))
    process.start()
    theirs.close()
    ended = ours.poll(limit)
    try:
        compiled, longest = ours.recv() if ended else (None, None)
    except EOFError:  # refused when compiled
        compiled = longest = None
    process.kill()
    process.join()
    seen = {"compile_s": compiled, "longest_step_s": longest}
    return {
        "backend": backend,
        "kind": kind,
        "asked": text[:80],
        "ended": ended,
        **{name: s if s is None else round(s, 4) for name, s in seen.items()},
    }


def main() -> None:
    """Measure all in both backends and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=float, default=10.0, help="seconds for each")
    options = parser.parse_args()
    asked = [("regex", text, text) for text in REGEXES]
    asked += [("schema", json.dumps(schema), json.dumps(schema)) for schema in SCHEMAS]
    asked += [("grammar", ebnf, lark) for ebnf, lark in GRAMMARS]
    runs = []
    for kind, ebnf, lark in asked:
        for backend, text in (("xgrammar", ebnf), ("guidance", lark)):
            runs.append(measure(backend, kind, text, options.limit))
            print(json.dumps(runs[-1]), flush=True)
    summary = {
        backend: {
            "tried": len(own := [r for r in runs if r["backend"] == backend]),
            "not_ended": sum(not r["ended"] for r in own),
            "longest_step_s": max(r["longest_step_s"] or 0.0 for r in own),
        }
        for backend in ("xgrammar", "guidance")
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {
        "limit_s": options.limit,
        "summary": summary,
        "runs": runs,
        "environment": environment(),
        "commit": commit(),
        "time": now(),
    }
    (RESULTS / "grammars.json").write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()

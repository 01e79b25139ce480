"""A line's guards in the configuration: what is accepted, and which key a refusal names."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from serving.config.guards import BLAME, LEGAL_ADVICE, Action, Claims, Content, LobGuards
from serving.config.settings import Settings
from serving.config.settings import load as load_settings
from serving.errors import ConfigError
from serving.guards import verdict


def settings(guards: Any, **more: Any) -> Settings:
    return Settings.model_validate({"model": "m", "lobs": {"care": {"guards": guards}}, **more})


def test_every_guard_is_off_unless_it_is_asked_for() -> None:
    guards = LobGuards()
    its = guards.input.injection, guards.input.prompt_leak, guards.input.off_topic.action
    of_output = guards.output.prompt_leak, guards.output.content.action, guards.output.claims.action
    assert {*its, guards.input.classifier.action, *of_output} == {Action.OFF}


def test_the_guards_and_the_configuration_speak_of_the_same_actions() -> None:
    assert verdict.Action is Action


def test_off_is_off_as_yaml_reads_it(tmp_path: Path, model_folder: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        f"model: {model_folder}\nlobs: {{care: {{guards: {{input: {{injection: off}}}}}}}}\n"
    )
    assert load_settings(file).lobs["care"].guards.input.injection is Action.OFF


@pytest.mark.parametrize(
    ("guards", "key"),
    [
        ("input: {injektion: block}", "lobs.care.guards.input.injektion"),
        ("input: {injection: blok}", "lobs.care.guards.input.injection"),
        ("input: {off_topic: {patterns: ['(']}}", "lobs.care.guards.input.off_topic.patterns.0"),
        ("input: {off_topic: {patterns: ['(a+)+']}}", "guards.input.off_topic.patterns.0"),
        ("input: {classifier: {threshold: 2}}", "lobs.care.guards.input.classifier.threshold"),
        ("input: {classifier: {action: flag}}", "care.guards.input.classifier.upstream"),
        ("output: {claims: {action: blok}}", "lobs.care.guards.output.claims.action"),
        ("output: {claims: {kinds: {rumour: flag}}}", "guards.output.claims.kinds.rumour"),
        ("output: {claims: {min_score: 2}}", "lobs.care.guards.output.claims.min_score"),
        ("output: {claims: {judge: nobody}}", "care.guards.output.claims.judge"),
        ("output: {content: {blame: ['x*']}}", "lobs.care.guards.output.content.blame.0"),
    ],
)
def test_a_typo_fails_at_start_and_names_the_key(
    tmp_path: Path, model_folder: Path, guards: str, key: str
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"model: {model_folder}\nlobs: {{care: {{guards: {{{guards}}}}}}}\n")
    with pytest.raises(ConfigError) as refused:
        load_settings(file)
    assert key in refused.value.message


def test_a_kind_of_claim_has_the_line_s_action_unless_it_has_its_own() -> None:
    claims = Claims.model_validate({"action": "block", "kinds": {"name": False, "date": "flag"}})
    actions = [claims.action_of("name"), claims.action_of("date"), claims.action_of("amount")]
    assert actions == [Action.OFF, Action.FLAG, Action.BLOCK]


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    "pattern",
    [
        *("(a+)+", "(a*)*b", "(?:x{1,9}){2,}", "(a|ab)*c", "((ab)+c)+", r"(\w+\s?)+$", "([a-z]+)*"),
        *("a{2000}", "a{5,9999}", "x*", "", "a" * 301, "(", "[a", r"(?P<n>a)(?P<n"),
    ],
)
def test_a_pattern_that_can_run_away_or_does_not_compile_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        Content(blame=[pattern])


@pytest.mark.parametrize(
    "pattern",
    [r"\bhoroscopes?\b", "(?:star|moon) ?sign", r"a{2,9}b+", r"[(+]+x", r"\(\w+\)+", "(ab){3}c*"],
)
def test_an_ordinary_pattern_is_accepted(pattern: str) -> None:
    assert Content(blame=[pattern]).blame == [pattern]


def test_the_default_lists_pass_their_own_check() -> None:
    assert Content(blame=BLAME, legal_advice=LEGAL_ADVICE) == Content()


def test_a_classifier_names_a_configured_upstream() -> None:
    of = {"input": {"classifier": {"action": "block", "upstream": "guard"}}}
    upstreams = {"guard": {"url": "http://guard/v1", "model": "g"}}
    assert settings(of, upstreams=upstreams).lobs["care"].guards.input.classifier.upstream
    with pytest.raises(ValidationError, match=r"care\.guards\.input\.classifier\.upstream"):
        settings(of)

"""The environment that Ray starts in."""

import os
from pathlib import Path

import pytest

from serving.alerts.client_address import TOKEN_VARIABLE
from serving.cluster import environment, haproxy
from serving.config.settings import Settings


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    found: dict[str, str] = {"TMPDIR": str(tmp_path)}
    monkeypatch.setattr(os, "environ", found)
    return found


def settings(**http: object) -> Settings:
    return Settings.model_validate({"model": "m", "lobs": {"care": {}}, "http": http})


def never() -> str:
    raise AssertionError("the binary is not needed")


def test_a_variable_that_the_operator_set_stays(variables: dict[str, str]) -> None:
    variables["RAY_worker_niceness"] = "5"
    found = environment.prepare(settings(proxy="python"), local=True, haproxy_binary=never)
    assert found["RAY_worker_niceness"] == variables["RAY_worker_niceness"] == "5"
    assert found["RAY_SERVE_ENABLE_HA_PROXY"] == variables["RAY_SERVE_ENABLE_HA_PROXY"] == "0"


def test_the_retrying_haproxy_starts_only_where_its_program_lies(
    variables: dict[str, str],
) -> None:
    there = environment.prepare(settings(), local=False, haproxy_binary=never)
    assert "RAY_SERVE_HAPROXY_BINARY_PATH" not in there
    variables.clear()
    here = environment.prepare(settings(), local=True, haproxy_binary=lambda: "/bin/true")
    assert Path(here["RAY_SERVE_HAPROXY_BINARY_PATH"]).exists()
    assert here["RAY_SERVE_HAPROXY_RETRY_ON"] == haproxy.RETRY_ON
    token, rules = here[TOKEN_VARIABLE], Path(here["RAY_SERVE_HAPROXY_BINARY_PATH"]).parent
    assert token in (rules / "rules.sed").read_text(), "replicas and HAProxy know the same"
    assert TOKEN_VARIABLE not in there, "a cluster's HAProxy is not ours to tell"


def test_on_one_machine_the_engine_s_processes_talk_over_loopback(
    variables: dict[str, str],
) -> None:
    here = environment.prepare(settings(proxy="python"), local=True, haproxy_binary=never)
    assert here["VLLM_HOST_IP"] == environment.LOOPBACK
    assert here["GLOO_SOCKET_IFNAME"] == here["NCCL_SOCKET_IFNAME"] == "lo"
    variables.clear()
    joined = environment.prepare(settings(proxy="python"), local=False, haproxy_binary=never)
    assert "VLLM_HOST_IP" not in joined


def test_ray_s_folder_is_for_its_user_only(variables: dict[str, str], tmp_path: Path) -> None:
    variables["RAY_TMPDIR"] = str(tmp_path)
    folder = environment.ray_folder()
    assert (folder.parent.parent, folder.parent.stat().st_mode & 0o777) == (tmp_path, 0o700)


def test_two_servers_of_one_machine_share_no_port_and_no_file(variables: dict[str, str]) -> None:
    found = []
    for _ in range(2):
        variables.clear()
        found.append(environment.prepare(settings(), local=False, haproxy_binary=never))
    same = {name for name in found[0] if found[0][name] == found[1][name]}
    assert not {name for name in same if name.endswith(("_PORT", "_PATH", "_FILE", "_LOC"))}


def test_without_affinity_haproxy_balances_as_ray_says(variables: dict[str, str]) -> None:
    found = environment.prepare(settings(affinity=False), local=False, haproxy_binary=never)
    assert "RAY_SERVE_HAPROXY_BALANCE_ALGORITHM" not in found

"""What a cluster is not joined with."""

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from serving.cluster import joining
from serving.config.settings import Settings
from serving.errors import ConfigError

TOKEN = "0" * 64


def settings(folder: Path, **keys: Any) -> Settings:
    tls = {"certificate": str(folder / "c.pem"), "key": str(folder / "k.pem")}
    http = {"tls": tls} | keys.pop("http", {})
    loaded = {"model": "m", "lobs": {"care": {}}, "http": http}
    loaded |= {"store": {"url": f"sqlite:///{folder / 'store.sqlite'}"}}
    return Settings.model_validate(loaded | {"journal": {"dir": str(folder / "journal")}} | keys)


@pytest.mark.parametrize(
    ("named", "variable", "found"),
    [
        ("", None, "local"),
        ("", "", "local"),
        ("", "10.0.0.1:6379", "10.0.0.1:6379"),
        ("auto", "10.0.0.1:6379", "auto"),
        ("local", "10.0.0.1:6379", "local"),
    ],
)
def test_the_configuration_s_cluster_goes_before_the_environment_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, variable: str | None, found: str
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert joining.address(settings(tmp_path, ray_address=named)) == found


def test_haproxy_s_tls_is_refused_on_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^http\.tls: .*load balancer") as refused:
        joining.check_tls(settings(tmp_path), "auto")
    assert refused.value.param == "http.tls"


@pytest.mark.parametrize(
    ("http", "address"), [({}, "local"), ({"proxy": "python"}, "auto"), ({"tls": None}, "auto")]
)
def test_tls_that_is_answered_with_or_not_wanted_passes(
    tmp_path: Path, http: dict[str, Any], address: str
) -> None:
    joining.check_tls(settings(tmp_path, http=http), address)


START = """
    import json, sys
    from serving.cluster import deployment
    from serving.config import prompts
    from serving.config.revision import Revision
    from serving.config.settings import Settings
    from serving.errors import ConfigError

    try:
        loaded = Settings.model_validate(json.loads(sys.argv[1]))
        deployment.start(Revision(loaded, prompts.read(prompts.DEFAULT)))
    except ConfigError as exc:
        print("refused", exc.param)
"""


@pytest.mark.parametrize(("proxy", "param"), [("haproxy", "http.tls"), ("python", "ray_address")])
def test_a_start_asks_both_before_it_opens_anything(tmp_path: Path, proxy: str, param: str) -> None:
    asked = settings(tmp_path, http={"proxy": proxy}, ray_address="10.255.255.1:6379")
    done = run(tmp_path, START, {}, asked.model_dump_json())
    assert done.stdout.splitlines()[-1:] == [f"refused {param}"], done.stderr[-2000:]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("variables", "file", "joins"),
    [
        ({}, False, False),
        ({"RAY_AUTH_TOKEN": TOKEN}, False, False),  # without the mode none is sent
        ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": TOKEN}, True, False),
        ({"RAY_AUTH_MODE": "token"}, False, False),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}, False, True),
        ({"RAY_AUTH_MODE": "token"}, True, True),
    ],
)
def test_a_cluster_is_joined_only_with_ray_s_token(
    tmp_path: Path, variables: dict[str, str], file: bool, joins: bool
) -> None:
    if file:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text(TOKEN)
    code = "from serving.cluster import joining, ray_internals as r\n"
    done = run(tmp_path, code + "joining.check_token(r.has_token())\nprint('joins')", variables)
    assert (done.stdout.splitlines()[-1:] == ["joins"]) is joins, done.stderr[-2000:]
    assert joins or "ConfigError: ray_address: a cluster is joined only with Ray's" in done.stderr


def run(
    home: Path, code: str, variables: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: Ray reads its environment once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        env=kept | {"HOME": str(home)} | variables,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.5:6379", "192.168.1.1:6379", "127.0.0.1:6379", "100.64.0.1:6379"),
        *("[fd00::1]:6379", "[::1]:6379", "localhost:6379", "[::ffff:10.0.0.5]:6379"),
    ],
)
def test_a_cluster_on_a_private_address_is_joined(address: str) -> None:
    joining.check_private(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8:6379", "[2001:4860:4860::8888]:6379", "[::ffff:8.8.8.8]:6379"]
)
def test_a_cluster_on_a_public_address_is_not(address: str) -> None:
    with pytest.raises(ConfigError, match="a public address") as refused:
        joining.check_private(address)
    assert refused.value.param == "ray_address"


def test_one_public_address_of_a_name_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(host: str, _port: None) -> list[Any]:
        assert host == "head.example"
        return [(0, 0, 0, "", ("10.0.0.5", 0)), (0, 0, 0, "", ("8.8.8.8", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with pytest.raises(ConfigError, match=r"listens on 8\.8\.8\.8"):
        joining.check_private("head.example:6379")


@pytest.mark.parametrize("address", ["", ":6379", "no-such-host.invalid:6379"])
def test_an_address_that_cannot_be_looked_up_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"^ray_address: .*cannot be looked up") as refused:
        joining.check_private(address)
    assert refused.value.param == "ray_address"

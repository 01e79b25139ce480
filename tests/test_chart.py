"""The Helm chart agrees with the server, with its own schema, with Helm and with Kubernetes.

`make chart` fetches Helm's library and Kubernetes' schemas, neither of them a part of Switchboard;
without, what needs them is skipped.
"""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from serving import endpoints
from serving.cluster import environment, options
from serving.config import settings as settings_module

ROOT = Path(__file__).parents[1]
CHART = ROOT / "docker" / "helm" / "switchboard"
TOOLS = ROOT / ".cache" / "bench" / "chart"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
BUCKETS = {"adapters": {"uri": "s3://bucket/adapters"}, "files": {"uri": "s3://bucket/files"}}
MODES: dict[str, dict[str, Any]] = {
    "deployment": {},
    "rayservice": {
        "mode": "rayservice",
        "config": BUCKETS,
        "autoscaling": {"enabled": True},
        "serviceMonitor": {"enabled": True, "keySecret": {"name": "prometheus"}},
    },
}

needs_helm = pytest.mark.skipif(
    not (TOOLS / "helm_python").is_dir(), reason="Helm is not here: make chart"
)


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Values laid over the chart's, as Helm lays them."""
    both = dict(base)
    for key, value in over.items():
        below = both.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            both[key] = merged(below, value)
        else:
            both[key] = value
    return both


def faults(**values: Any) -> list[str]:
    """What the schema finds in values laid over the chart's own."""
    found = jsonschema.Draft7Validator(SCHEMA).iter_errors(merged(VALUES, values))
    return ["/".join(map(str, error.absolute_path)) for error in found]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def manifests(mode: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Helm would install."""
    monkeypatch.syspath_prepend(str(TOOLS))
    chart = importlib.import_module("helm_python").Chart.load(str(CHART))
    chart.validate_schema(MODES[mode])
    rendered = chart.render(MODES[mode], name="desk", namespace="contact-center")
    texts = [text for name, text in rendered.items() if name.endswith(".yaml")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


def only(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (one for one in manifests if one["kind"] == kind)
    return found


def pods(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods' templates, that which answers requests last."""
    found = []
    for one in manifests:
        if one["kind"] == "Deployment":
            found.append(one["spec"]["template"])
        if one["kind"] == "RayService":
            cluster = one["spec"]["rayClusterConfig"]
            found.append(cluster["headGroupSpec"]["template"])
            found += [group["template"] for group in cluster["workerGroupSpecs"]]
    return found


def test_the_charts_own_values_are_valid_in_both_modes() -> None:
    assert faults() == []
    assert faults(**MODES["rayservice"]) == []


@pytest.mark.parametrize(
    ("values", "at"),
    [
        ({"relicas": 2}, ""),
        ({"mode": "statefulset"}, "mode"),
        ({"config": {"http": {"port": 9000}}}, "config/http"),
        ({"config": {"store": {"url": "postgresql://a:b@db/switchboard"}}}, "config/store/url"),
        ({"secrets": {"PGPASSWORD": "hunter2"}}, "secrets/PGPASSWORD"),
        ({"autoscaling": {"enabled": True}}, "autoscaling/enabled"),
        ({"mode": "rayservice"}, "config"),
        (
            {
                "mode": "rayservice",
                "config": {**BUCKETS, "store": {"url": "sqlite:///data/a.sqlite"}},
            },
            "config/store/url",
        ),
    ],
)
def test_values_that_would_fail_later_are_refused(values: dict[str, Any], at: str) -> None:
    assert at in faults(**values)


def test_every_value_of_the_chart_is_in_its_schema() -> None:
    assert set(VALUES) <= set(SCHEMA["properties"])
    for name, rule in SCHEMA["properties"].items():
        if rule.get("additionalProperties") is False:
            assert set(VALUES[name]) == set(rule["properties"]), name


def test_ray_in_pods_gets_what_the_server_would_set() -> None:
    """Those that are one value for every machine; ports and folders are a pod's own anyway."""
    text = (CHART / "templates" / "_helpers.tpl").read_text()
    given = dict(re.findall(r'- \{name: (RAY_\w+), value: "?([^"}]+)"?\}', text))
    source = Path(environment.__file__).read_text()
    ours = dict(re.findall(r'"(RAY_\w+)": "([^"{}]+)"', source))
    once = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    assert {name: given[name] for name in once} == once
    shared = given.keys() & ours.keys()
    assert len(shared) == 10
    assert {name: given[name] for name in shared} == {name: ours[name] for name in shared}
    assert given.keys() == once.keys() | shared


def test_the_chart_asks_for_the_ray_that_is_installed() -> None:
    (pinned,) = re.findall(r'"ray\[serve\]==([^"]+)"', (ROOT / "pyproject.toml").read_text())
    assert VALUES["ray"]["version"] == pinned


@needs_helm
def test_helm_finds_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    found = importlib.import_module("helm_python.chart").lint(str(CHART))
    assert "ERROR" not in json.dumps(found)


@needs_helm
def test_kubernetes_schemas_take_every_manifest_of_its_own_kinds(
    manifests: list[dict[str, Any]],
) -> None:
    kubernetes_validate = importlib.import_module("kubernetes_validate")
    foreign = {"RayService", "ServiceMonitor"}
    own = [one for one in manifests if one["kind"] not in foreign]
    assert len(own) >= 3
    for one in own:
        kubernetes_validate.validate(one, "1.31", strict=True)
    for pod in pods(manifests):  # KubeRay's own kinds have no schema here, their pods do
        kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod", **pod}, "1.31")


@needs_helm
def test_the_server_takes_the_rendered_configuration(
    manifests: list[dict[str, Any]], mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "switchboard.yaml"
    file.write_text(only(manifests, "ConfigMap")["data"]["switchboard.yaml"])
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setenv("SWITCHBOARD_MODEL", str(tmp_path))  # the claim, mounted at /model
    for name in VALUES["secrets"]:
        monkeypatch.setenv(name, "from-the-secret")
    settings = settings_module.load(file)
    assert (settings.http.host, settings.http.port) == ("0.0.0.0", 8000)
    if mode == "rayservice":
        assert settings.autoscaling.max_replicas == VALUES["ray"]["workers"]["max"]
        assert settings.placement.max_replicas_per_node == 1
        workers = only(manifests, "RayService")["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
        offered = json.loads(json.loads(workers["rayStartParams"]["resources"]))
        assert options.missing(settings, {**offered, "GPU": 0.0}) == []


@needs_helm
def test_probes_ask_what_the_server_answers_and_a_stop_waits_for_requests(
    manifests: list[dict[str, Any]],
) -> None:
    pod = pods(manifests)[-1]["spec"]
    (container,) = pod["containers"]
    probes = [container[name] for name in container if name.endswith("Probe")]
    assert probes
    for probe in probes:
        if "httpGet" in probe:
            assert probe["httpGet"]["path"] == endpoints.READY
    (port,) = container["ports"]
    assert port["containerPort"] == only(manifests, "Service")["spec"]["ports"][0]["targetPort"]
    drain_s = VALUES["config"]["http"]["drain_s"]
    waits = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    rest = pod["terminationGracePeriodSeconds"] - waits
    assert rest >= options.STOP_S
    assert pod["terminationGracePeriodSeconds"] > drain_s + options.STOP_S


@needs_helm
def test_no_secret_is_written_and_pods_run_as_nobody_special(
    manifests: list[dict[str, Any]],
) -> None:
    assert [one for one in manifests if one["kind"] == "Secret"] == []
    for pod in pods(manifests):
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in pod["spec"]["containers"]:
            by_name = {one["name"]: one for one in container["env"]}
            for name in VALUES["secrets"]:
                assert "secretKeyRef" in by_name[name]["valueFrom"]


@needs_helm
def test_the_service_and_the_policy_select_the_pods_that_answer(
    manifests: list[dict[str, Any]],
) -> None:
    labels = pods(manifests)[-1]["metadata"]["labels"].items()
    assert only(manifests, "Service")["spec"]["selector"].items() <= labels
    policy = only(manifests, "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels
    assert policy["ingress"][0]["ports"] == [{"port": 8000}]


def test_kuberay_starts_an_application_of_ours() -> None:
    text = (CHART / "templates" / "rayservice.yaml").read_text()
    (path,) = re.findall(r"import_path: (\S+)", text)
    module, _, name = path.partition(":")
    code = f"from {module} import {name}, Arguments as A; print(*A.model_fields)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    (given,) = re.findall(r"args:\n((?: {10}.*\n)+)", text)
    assert set(re.findall(r"^ {10}(\w+):", given, re.MULTILINE)) == set(done.stdout.split())

"""Three servers by compose and on Kubernetes: what the files say fits the configuration, the schemas and each other."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.cli.serve import CLOSE_SECONDS
from app.config.load import load_config
from app.config.root import Config
from app.config.units import parse_duration
from tests.deploy.compose import filled
from tests.fixtures.server import ROOT

KEY = "a-key-that-is-long-enough"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.cluster.yml").read_text(encoding="utf-8"))
SINGLE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
SERVERS = {name: service for name, service in SERVICES.items() if name.startswith("hector-")}
NGINX = (ROOT / "deploy" / "nginx-cluster.conf").read_text(encoding="utf-8")
CADDY = (ROOT / "deploy" / "Caddyfile.cluster").read_text(encoding="utf-8")
MANIFESTS: dict[str, Any] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
}
POD = MANIFESTS["deployment"]["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]
IMAGE = {"HECTOR_SERVER__HOST": "0.0.0.0", "HECTOR_SERVER__PORT": "8080"}


def of_compose(name: str) -> Config:
    """The configuration of a server of the compose file."""
    said = {key: filled(value, HECTOR_KEY=KEY) for key, value in SERVERS[name]["environment"].items()}
    return load_config(ROOT / "deploy" / "config.yaml", environ=IMAGE | said).config


@pytest.fixture
def of_pod(tmp_path: Path) -> Config:
    """The configuration of a pod."""
    file = tmp_path / "config.yaml"
    file.write_text(MANIFESTS["config"]["data"]["config.yaml"], encoding="utf-8")
    pod = {"metadata.name": "hector-6d4cf56db6-x2x9k", "status.podIP": "10.244.1.7"}
    secrets = dict.fromkeys(MANIFESTS["secret"]["stringData"], KEY) | {
        "DATABASE_URL": "postgresql://hector:x@db/hector"
    }
    environ = IMAGE | secrets
    for entry in CONTAINER["env"]:
        value = entry.get("value") or pod[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        environ[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda match: environ[match[1]], value)
    return load_config(file, environ=environ).config


# -- compose ----------------------------------------------------------------------------------------------------


def test_each_server_knows_its_name_its_address_and_what_it_shares() -> None:
    for name in SERVERS:
        config = of_compose(name)
        assert config.cluster.enabled
        assert config.cluster.name == name
        assert config.cluster.address == f"http://{name}:8080"
        assert name in config.server.allowed_hosts
    assert len(SERVERS) == 3
    assert len({of_compose(name).storage.url for name in SERVERS}) == 1


def test_nginx_alone_is_reached_and_is_the_proxy_that_the_servers_trust() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["nginx"]
    assert [filled(port) for port in SERVICES["nginx"]["ports"]] == ["127.0.0.1:8080:8080", "127.0.0.1:50051:50051"]
    address = filled(SERVICES["nginx"]["networks"]["default"]["ipv4_address"])
    assert of_compose("hector-1").server.trusted_proxies == (address,)
    [network] = COMPOSE["networks"]["default"]["ipam"]["config"]
    assert filled(network["subnet"]) == address.rpartition(".")[0] + ".0/24"
    for name in ("database", "redis"):
        assert SERVICES[name]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"]["internal"]


def test_each_starts_when_what_it_needs_is_healthy() -> None:
    healthy = {"condition": "service_healthy"}
    assert SERVICES["nginx"]["depends_on"] == dict.fromkeys(SERVERS, healthy)
    for server in SERVERS.values():
        assert server["depends_on"] == {"database": healthy, "redis": healthy}
    for name in ("database", "redis", "nginx"):
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_what_the_single_server_has_the_three_have_too() -> None:
    single = SINGLE["services"]["hector"]
    for server in SERVERS.values():
        for key in ("restart", "read_only", "cap_drop", "security_opt", "mem_limit", "pids_limit", "stop_grace_period"):
            assert server[key] == single[key], key
        assert server["volumes"] == single["volumes"]
    assert SERVICES["database"] == SINGLE["services"]["database"]


def test_every_service_is_limited() -> None:
    for service in SERVICES.values():
        assert {"max-size", "max-file"} <= set(service["logging"]["options"])
        assert filled(service["mem_limit"])
        assert service["pids_limit"] > 0
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_what_is_mounted_exists() -> None:
    [mount] = SERVICES["nginx"]["volumes"]
    source, target, mode = mount.split(":")
    assert (ROOT / source).read_text(encoding="utf-8") == NGINX
    assert (target, mode) == ("/etc/nginx/conf.d/default.conf", "ro")
    for name, service in SERVICES.items():
        named = {volume.partition(":")[0] for volume in service.get("volumes", []) if name != "nginx"}
        assert named <= set(COMPOSE["volumes"])


# -- proxies ----------------------------------------------------------------------------------------------------


def test_nginx_names_the_servers_of_the_compose_file() -> None:
    assert re.findall(r"server (hector-\d):8080 ", NGINX) == list(SERVERS)
    assert re.findall(r"server (hector-\d):50051 ", NGINX) == list(SERVERS)
    assert re.findall(r"listen (\d+)", NGINX) == [port.rpartition(":")[2] for port in SERVICES["nginx"]["ports"]]


def test_both_proxies_choose_by_connections_and_collect_nothing() -> None:
    assert NGINX.count("least_conn;") == 2
    assert "proxy_buffering off;" in NGINX
    assert CADDY.count("lb_policy least_conn") == 2
    assert CADDY.count("flush_interval -1") == 2
    assert "health_uri /ready" in CADDY
    assert CADDY.count("{") == CADDY.count("}")


# -- Kubernetes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
def test_a_manifest_is_what_kubernetes_takes(name: str, version: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def test_a_misspelt_key_of_a_manifest_would_be_noticed() -> None:
    wrong = MANIFESTS["poddisruptionbudget"] | {"spec": {"minAvailabel": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_the_manifests_name_each_other() -> None:
    labels = {"app.kubernetes.io/name": "hector"}
    assert MANIFESTS["deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert MANIFESTS["deployment"]["spec"]["template"]["metadata"]["labels"] == labels
    assert MANIFESTS["service"]["spec"]["selector"] == labels
    assert MANIFESTS["poddisruptionbudget"]["spec"]["selector"]["matchLabels"] == labels
    assert CONTAINER["envFrom"] == [{"secretRef": {"name": MANIFESTS["secret"]["metadata"]["name"]}}]
    assert POD["volumes"][0]["configMap"]["name"] == MANIFESTS["config"]["metadata"]["name"]
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert {port["targetPort"]: port["port"] for port in MANIFESTS["service"]["spec"]["ports"]} == ports


def test_a_pod_is_one_of_several_servers(of_pod: Config) -> None:
    assert of_pod.cluster.enabled
    assert of_pod.cluster.name == "hector-6d4cf56db6-x2x9k"
    assert of_pod.cluster.address == "http://10.244.1.7:8080"
    assert of_pod.storage.is_postgres
    assert of_pod.server.port == CONTAINER["ports"][0]["containerPort"]
    assert of_pod.server.grpc_port == CONTAINER["ports"][1]["containerPort"]
    assert MANIFESTS["service"]["metadata"]["name"] in of_pod.server.allowed_hosts


def test_a_stop_has_more_time_than_the_server_may_take(of_pod: Config) -> None:
    pre_stop = float(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    needed = of_pod.server.shutdown_grace + timedelta(seconds=pre_stop + CLOSE_SECONDS + 5)
    assert timedelta(seconds=POD["terminationGracePeriodSeconds"]) >= needed
    for name in SERVERS:
        stop = parse_duration(SERVERS[name]["stop_grace_period"])
        assert stop >= of_compose(name).server.shutdown_grace + timedelta(seconds=CLOSE_SECONDS + 5)


def test_a_pod_may_do_nothing_that_it_does_not_need() -> None:
    assert POD["securityContext"]["runAsNonRoot"]
    assert POD["securityContext"]["runAsUser"] > 0
    assert not POD["automountServiceAccountToken"]
    security = CONTAINER["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert {mount["mountPath"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")} == {"/data", "/tmp"}


def test_two_of_three_servers_are_always_there() -> None:
    deployment = MANIFESTS["deployment"]["spec"]
    assert deployment["replicas"] == 3
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert MANIFESTS["poddisruptionbudget"]["spec"]["minAvailable"] == 2
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == CONTAINER["startupProbe"]["httpGet"]["path"] == "/health"
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_the_secret_has_no_secret() -> None:
    assert set(MANIFESTS["secret"]["stringData"].values()) == {""}

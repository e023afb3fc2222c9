"""The files of `deploy/` can be read, agree with each other, and name what is there."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import validate_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster_celery.executor import celery_executor
from dagster_celery.launcher import CeleryRunLauncher
from dagster_shared.yaml_utils import load_yaml_from_path

from crm_assets.orchestration.keys import HOST_TAG
from crm_assets.project import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: Any = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
VALUES: Any = yaml.safe_load((DEPLOY / "values.yaml").read_text())
INSTANCES = ("dagster.yaml", "dagster-celery.yaml")


def instance_of(name: str) -> Any:
    """Return a file of settings of a Dagster instance."""
    return load_yaml_from_path(str(DEPLOY / name))


@pytest.mark.parametrize("name", INSTANCES)
def test_dagster_takes_the_settings_of_its_instance(name: str) -> None:
    found = instance_of(name)
    assert validate_config(dagster_instance_config_schema(), found).success
    assert found["storage"]["postgres"]["postgres_url"] == {"env": "DAGSTER_POSTGRES_URL"}
    [limit] = found["concurrency"]["runs"]["tag_concurrency_limits"]
    assert limit["key"] == HOST_TAG


def test_both_instances_differ_in_the_launcher_and_what_follows_from_it() -> None:
    default, celery = map(instance_of, INSTANCES)
    launcher = celery.pop("run_launcher")
    assert getattr(import_module(launcher["module"]), launcher["class"]) is CeleryRunLauncher
    for one in (default, celery):
        del one["concurrency"]["runs"]["max_concurrent_runs"], one["run_monitoring"]["start_timeout_seconds"]
    assert default == celery


def test_a_worker_takes_its_settings_and_has_a_place_for_each_run() -> None:
    execution = load_yaml_from_path(str(DEPLOY / "celery.yaml"))
    assert isinstance(execution, dict)
    assert validate_config(celery_executor.config_schema.config_type, execution["execution"]["config"]).success
    places = int(COMPOSE["services"]["worker"]["command"][-1])
    assert instance_of("dagster-celery.yaml")["concurrency"]["runs"]["max_concurrent_runs"] == 2 * places


def test_the_image_is_small_runs_as_nobody_special_and_looks_after_itself() -> None:
    *_, last = DOCKERFILE.split("\nFROM ")
    assert "USER loader" in last
    assert "HEALTHCHECK" in last
    assert "pip install" not in last
    assert "--require-hashes -r requirements.lock" in DOCKERFILE
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, flags=re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert _is_sent(source), source


def _is_sent(source: str) -> bool:
    """Return whether `.dockerignore` leaves `source` in what is sent to be built."""
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    return any(source == one or source.startswith(f"{one}/") for one in kept)


def test_no_secret_is_sent_to_be_built() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert not _is_sent(".dlt/secrets.toml")
    assert not _is_sent("data")


def test_the_services_are_those_that_a_deployment_needs_and_each_is_looked_after() -> None:
    assert COMPOSE["services"].keys() == {"postgres", "redis", "code", "webserver", "daemon", "worker"}
    for name, one in COMPOSE["services"].items():
        assert "healthcheck" in one or name == "code", name  # its image has one
    for config in COMPOSE["configs"].values():
        assert "content" in config or (DEPLOY / config["file"]).exists()
    environment = COMPOSE["x-dagster"]["environment"]
    named = {one["env"] for one in _environment_of(instance_of("dagster-celery.yaml"))}
    assert named <= environment.keys()
    assert environment["DAGSTER_POSTGRES_URL"].startswith("postgresql+psycopg2://")


def _environment_of(value: Any) -> list[dict[str, str]]:
    if isinstance(value, dict):
        return [value] if value.keys() == {"env"} else [one for part in value.values() for one in _environment_of(part)]
    return []


def test_kubernetes_limits_runs_as_the_machines_do() -> None:
    default = instance_of("dagster.yaml")
    limits = VALUES["concurrency"]
    assert limits["enabled"]  # without it, the chart itself sets max_concurrent_runs to -1
    assert _in_snake_case(limits["runs"]) == default["concurrency"]["runs"]
    assert _in_snake_case(limits["pools"]) == default["concurrency"]["pools"]
    assert _in_snake_case(VALUES["retention"]) == {"enabled": True, **default["retention"]}
    for threads in ("sensors", "schedules"):
        assert _in_snake_case(VALUES["dagsterDaemon"][threads]) == default[threads]
    assert validate_config(dagster_instance_config_schema(), VALUES["additionalInstanceConfig"]).success
    [deployment] = VALUES["dagster-user-deployments"]["deployments"]
    assert deployment["dagsterApiGrpcArgs"] == ["-m", "crm_assets.definitions"]
    assert VALUES["runLauncher"]["type"] == "K8sRunLauncher"


def _in_snake_case(value: Any) -> Any:
    """Return a part of the chart's values as its template writes it into dagster.yaml."""
    if isinstance(value, list):
        return [_in_snake_case(one) for one in value]
    if not isinstance(value, dict) or "applyLimitPerUniqueValue" in value:  # which goes into it as it is
        return value
    return {re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name): _in_snake_case(value[name]) for name in value}


CHART_NAMES: dict[str, set[str]] = {
    "global": {"postgresqlSecretName", "dagsterHome", "serviceAccountName"},
    "dagster-user-deployments": {"enabled", "enableSubchart", "imagePullSecrets", "deployments"},
    "runLauncher": {"type", "config"},
    "dagsterDaemon": {"enabled", "runCoordinator", "runMonitoring", "runRetries", "sensors", "schedules"},
    "concurrency": {"enabled", "pools", "runs"},
    "retention": {"enabled", "sensor", "schedule", "autoMaterialize"},
    "postgresql": {
        *("enabled", "postgresqlScheme", "postgresqlHost", "postgresqlUsername", "postgresqlPassword"),
        *("postgresqlDatabase", "postgresqlParams", "service", "image"),
    },
    "telemetry": {"enabled"},
    "generatePostgresqlPasswordSecret": set(),
    "additionalInstanceConfig": {"freshness"},
}
"""Names of the chart's values, those of them that may be of use here: the chart's schema refuses others, or ignores
them. From the models under `helm/dagster/schema` of Dagster's repository, November 2026."""


def test_the_chart_knows_every_name_in_its_values() -> None:
    assert VALUES.keys() <= CHART_NAMES.keys()
    for name, value in VALUES.items():
        assert not isinstance(value, dict) or value.keys() <= CHART_NAMES[name], name
    [deployment] = VALUES["dagster-user-deployments"]["deployments"]
    known = {"name", "image", "port", "dagsterApiGrpcArgs", "includeConfigInLaunchedRuns", "env", "envSecrets"}
    assert deployment.keys() <= known
    assert VALUES["runLauncher"]["config"].keys() == {"k8sRunLauncher"}
    assert VALUES["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"].keys() <= {"containerConfig"}


@pytest.mark.parametrize("file", sorted(DEPLOY.iterdir()), ids=lambda file: file.name)
def test_no_login_and_no_registry_is_written_down(file: Path) -> None:
    text = file.read_text()
    assert not re.search(r"(password|api_key): *[\w]{8,}", text, flags=re.IGNORECASE)
    assert "pypi" not in text

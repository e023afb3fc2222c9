"""Two accounts in a Dagster project that is not ours, from the wheel, in an environment without the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from crm_assets.project import ROOT
from crm_assets.sandbox.server import Sandbox
from crm_assets_tests.conftest import SMALL, environment

pytestmark = pytest.mark.long

HOST = {
    "pyproject.toml": """
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "host"
""",
    "host/__init__.py": "",
    "host/defs/__init__.py": "",
    "host/definitions.py": """
from pathlib import Path
import dagster as dg


@dg.asset
def own(crm_api: dg.ResourceParam[str]) -> None:
    assert crm_api == "the host's"


@dg.definitions
def defs() -> dg.Definitions:
    mine = dg.Definitions(
        assets=[own],
        resources={"crm_api": "the host's"},
        jobs=[dg.define_asset_job("crm_all", selection=[own])],
        executor=dg.multiprocess_executor,
    )
    return dg.Definitions.merge(mine, dg.load_from_defs_folder(path_within_project=Path(__file__).parent))
""",
    "host/defs/acme/defs.yaml": """
type: crm_assets.CrmComponent
attributes:
  account: acme
  resources: [contacts, deals]
  automation: {enabled: true, frequent_cron: "*/30 * * * *"}
post_processing:
  assets:
    - target: "*"
      attributes: {owners: ["team:sales"]}
""",
    "host/defs/globex/defs.yaml": """
type: crm_assets.CrmComponent
attributes:
  account: globex
  resources: [contacts, notes]
""",
}
SHOWN = """
import os
before = dict(os.environ)
import crm_assets, host.definitions
found = host.definitions.defs() if callable(host.definitions.defs) else host.definitions.defs
assert dict(os.environ) == before, "the environment has changed"
print(crm_assets.__file__)
repository = found.get_repository_def()
print(*sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")))
print(*sorted(one.name for one in [*repository.schedule_defs, *repository.sensor_defs]))
graph = found.resolve_asset_graph()
acme = [graph.get(key) for key in graph.get_all_asset_keys() if key.path[0] == "acme"]
print(*sorted({owner for node in acme for owner in node.owners}))
print(*sorted(key.to_user_string() for key in graph.materializable_asset_keys))
"""
DG = """
import shlex, sys
from dagster_dg_cli.cli import cli
for command in sys.argv[1:]:
    cli(shlex.split(command), prog_name="dg", standalone_mode=False)
    print(end="\\0", flush=True)
"""


@pytest.fixture
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the wheel and its dependencies, and nothing of the checkout."""
    source, venv = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("venv")
    shutil.copytree(ROOT / "crm_assets", source / "crm_assets", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(source / "dist"), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = (source / "dist").glob("crm_assets-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    interpreter = venv / "bin" / "python"
    install = [str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet", "--no-deps", "--offline"]
    subprocess.run([*install, "--python", str(interpreter), str(wheel)], check=True)
    # A plain line of a .pth file adds the folder without the .pth files in it: not the checkout, which is one of them.
    [packages] = venv.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    for command in ("dagster", "dg"):
        _, _, code = (Path(sys.executable).parent / command).read_text().partition("\n")
        script = venv / "bin" / command
        script.write_text(f"#!{interpreter}\n{code}")
        script.chmod(0o755)
    return interpreter


@dataclass
class Host:
    """The project, its environment, and the two CRMs."""

    folder: Path
    python: Path
    variables: dict[str, str]
    crms: dict[str, Sandbox]

    def run(self, *command: str) -> str:
        """Run `command` of the environment in the project's folder and return what it printed."""
        [program, *arguments] = command
        done = subprocess.run(
            [str(self.python.parent / program), *arguments],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dg(self, *commands: str) -> list[str]:
        """Return what each command of `dg` printed: all in one process, whose imports take longer than any of them."""
        return self.run("python", "-c", DG, *commands).split("\0")[:-1]

    def files(self) -> set[str]:
        """Return what is in the project's folder, but for Python's caches."""
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if "__pycache__" not in str(path)}

    def ids(self, table: str) -> set[int]:
        """Return the ids of a table in the default warehouse."""
        file = Path(self.variables["DAGSTER_HOME"]) / "crm_assets" / "warehouse.duckdb"
        with duckdb.connect(str(file), read_only=True) as connection:
            return {row[0] for row in connection.execute(f"SELECT id FROM {table}").fetchall()}


@pytest.fixture
def host(python: Path, tmp_path: Path) -> Iterator[Host]:
    """The project with two accounts on two CRMs."""
    folder, home = tmp_path / "project", tmp_path / "dagster_home"
    home.mkdir()
    for name, text in HOST.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / ".dlt").mkdir()
    with (
        Sandbox(SMALL, seed=1, email="acme", api_key="acme-key") as acme,
        Sandbox(SMALL, seed=2, email="globex", api_key="globex-key") as globex,
    ):
        crms = {"acme": acme, "globex": globex}
        (folder / ".dlt" / "config.toml").write_text(
            "\n".join(f'[sources.{name}]\nbase_url = "{crm.base_url}"' for name, crm in crms.items())
        )
        (folder / ".dlt" / "secrets.toml").write_text(
            "\n".join(f'[sources.{name}]\nemail = "{name}"\napi_key = "{name}-key"' for name in crms)
        )
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        variables = environment(
            DAGSTER_HOME=str(home),
            HOME=str(tmp_path),
            PATH=f"{python.parent}:{os.environ['PATH']}",
            DG_CLI_CONFIG=str(tmp_path / "no.toml"),
        )
        yield Host(folder, python, {k: v for k, v in variables.items() if k != "PYTHONPATH"}, crms)


def test_two_components_fill_two_datasets_and_change_nothing_of_their_host(host: Host, python: Path) -> None:
    before = host.files()
    place, jobs, watching, owners, listed = host.run("python", "-c", SHOWN).splitlines()
    assert str(python.parent.parent) in place
    assert "All definitions loaded successfully" in host.run("dg", "check", "defs", "--no-check-yaml")
    assert jobs == "acme_all acme_checks acme_frequent crm_all globex_all globex_checks globex_frequent"
    assert "acme_alerts acme_changes acme_frequent_schedule acme_recovery acme_retention globex_alerts" in watching
    assert owners == "team:sales"
    assert listed.split() == ["acme/contacts", "acme/deals", "globex/contacts", "globex/notes", "own"]
    for account, tables in {"acme": ("contacts", "deals"), "globex": ("contacts", "notes")}.items():
        host.run("dagster", "asset", "materialize", "--select", f"group:{account}", "-m", "host.definitions")
        for table in tables:
            records = host.crms[account].crm.records(table)
            assert host.ids(f"crm_{account}.{table}") == {int(record["id"]) for record in records}
    assert host.files() == before
    dg_knows_the_component(host)


def dg_knows_the_component(host: Host) -> None:
    """Check it in the same test: the environment takes longer to make than to use."""
    components, _, checked, described = host.dg(
        "list components --json",
        "scaffold defs crm_assets.CrmComponent initech",
        "check yaml",
        "utils inspect-component crm_assets.CrmComponent",
    )
    assert "crm_assets.CrmComponent" in components
    scaffolded = (host.folder / "host" / "defs" / "initech" / "defs.yaml").read_text()
    assert scaffolded.split() == ["type:", "crm_assets.CrmComponent", "attributes:", "account:", "initech"]
    assert "validated successfully" in checked
    assert described.count('"description"') == described.count('"title"') - 2

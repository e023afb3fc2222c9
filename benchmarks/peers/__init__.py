"""Who is measured: each peer is a folder here, written as its documentation recommends, with pinned requirements."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from crm_assets.project import ROOT

HERE: Final = Path(__file__).parent
ENVIRONMENTS: Final = HERE.parent / ".venvs"
"""Where the peers are installed, an environment each. Git ignores it."""


class NotInstalled(RuntimeError):
    """The peer cannot be installed. The message is the reason, in one line."""


@dataclass(frozen=True)
class Peer:
    """One line of the table.

    Attributes:
        name: its name in `PEERS=`, and of its folder with `-` as `_`.
        title: what it is, in the table.
        command: what runs it. `{python}` and `{bin}` are of its environment, `{here}` is the folder of all peers,
            `{folder}` the one of this run.
        environment: variables that it needs beside those that every peer gets; with the same words, and `{url}`,
            `{email}`, `{api_key}` and `{database}`.
        dagster: the file of settings of the Dagster instance that it needs.
        packages: whose versions are reported.
        lacks: what its tables lack beside those of the project.
        lands: whether it has tables at all.
    """

    name: str
    title: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    dagster: Path | None = None
    packages: tuple[str, ...] = ()
    lacks: str = ""
    lands: bool = True

    @property
    def requirements(self) -> Path:
        """The file of what is to be installed; it does not exist for a peer that runs in the project's environment."""
        return HERE / self.name.replace("-", "_") / "requirements.txt"

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        if self.requirements.exists():
            return ENVIRONMENTS / self.name / "bin" / "python"
        return Path(sys.executable)

    def install(self) -> None:
        """Make its environment, unless it is there already with these requirements.

        Raises:
            NotInstalled: says why.
        """
        if not self.requirements.exists():
            return
        folder = ENVIRONMENTS / self.name
        wanted, mark = self.requirements.read_text(), folder / "installed.txt"
        if mark.exists() and mark.read_text() == wanted:
            return
        pip = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [*pip, "--requirement", str(self.requirements)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
                raise NotInstalled(next((line for line in said if line.startswith("ERROR")), said[-1]))
        mark.write_text(wanted)

    def versions(self) -> dict[str, str]:
        """Return the version of each of `packages` in its environment."""
        code = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]), sep='\\n')"
        done = subprocess.run(
            [str(self.python), "-c", code, *self.packages], check=True, stdout=subprocess.PIPE, text=True
        )
        return dict(zip(self.packages, done.stdout.split(), strict=True))


OURS: Final = {
    "SOURCES__CRM__BASE_URL": "{url}",
    "SOURCES__CRM__EMAIL": "{email}",
    "SOURCES__CRM__API_KEY": "{api_key}",
    "DESTINATION__DUCKDB__CREDENTIALS": "{database}",
    "DLT_PROJECT_DIR": "{folder}",
    "DLT_LOCAL_DIR": "{folder}",
}
SETTINGS: Final = ROOT / ".dagster" / "dagster.yaml"
SOURCE: Final = {"PYTHONPATH": "{here}/dlt"}
"""What the peers need that share the source of dlt."""
PACKAGES: Final = ("dagster", "dlt", "duckdb", "pyarrow")

PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer("wire", "the wire alone (threads, keep-alive)", ("{python}", "{here}/wire/read.py"), lands=False),
        Peer(
            "floor",
            "floor by hand (threads, orjson, pyarrow, DuckDB delete + insert)",
            ("{python}", "{here}/floor/load.py"),
            packages=("duckdb", "orjson", "pyarrow"),
            lacks="retries, rejected records, deletes, history, checks; holds all records in memory",
        ),
        Peer(
            "singer",
            "Singer SDK tap to target-duckdb",
            ("sh", "{here}/singer/run.sh", "{python}", "{bin}/target-duckdb"),
            packages=("singer-sdk", "target-duckdb", "duckdb"),
            lacks="undeclared fields, rejected records, deletes, history, checks; times have no time zone",
        ),
        Peer(
            "dlt",
            "dlt as it comes (insert_values)",
            ("{python}", "{here}/dlt/load.py"),
            packages=("dlt", "duckdb"),
            lacks="rejected records, deletes, history, checks; types as guessed",
        ),
        Peer(
            "dlt-parquet",
            "dlt, parquet",
            ("{python}", "{here}/dlt_parquet/load.py"),
            SOURCE,
            packages=("dlt", "duckdb", "pyarrow"),
            lacks="rejected records, deletes, history, checks; types as guessed",
        ),
        Peer(
            "dagster-dlt",
            "dagster-dlt, parquet",
            ("{bin}/dagster", "asset", "materialize", "--select", "*", "-f", "{here}/dagster_dlt/definitions.py"),
            SOURCE,
            HERE / "dagster_dlt" / "dagster.yaml",
            ("dagster", "dagster-dlt", "dlt", "duckdb", "pyarrow"),
            lacks="rejected records, deletes, history, checks; types as guessed",
        ),
        Peer(
            "pyairbyte",
            "PyAirbyte, low-code source",
            ("{python}", "{here}/pyairbyte/load.py"),
            {"AIRBYTE_OFFLINE_MODE": "1"},
            packages=("airbyte", "airbyte-cdk", "duckdb"),
            lacks="times (texts as sent), undeclared fields, rejected records, deletes, history, checks",
        ),
        Peer(
            "ours",
            "`dagster asset materialize`, ours",
            ("{bin}/dagster", "asset", "materialize", "--select", "*", "-m", "crm_assets.definitions"),
            OURS,
            SETTINGS,
            PACKAGES,
        ),
        Peer("sync", "`crm-assets sync`, ours", ("{bin}/crm-assets", "sync"), OURS, SETTINGS, PACKAGES),
    )
}
"""All peers by name, in the order of the table."""

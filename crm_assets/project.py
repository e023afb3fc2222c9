"""Where the stand-alone project lives on disk, and what its processes agree on before dlt is first used."""

import os
import stat
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent

ROOT = _CHECKOUT if (_CHECKOUT / ".dlt").is_dir() else Path.cwd()
"""Folder of `.dlt/` and `data/`: the checkout, or the current directory for an installed package."""

DAGSTER_HOME = ROOT / ".dagster"
"""Dagster's instance: `dagster.yaml` and the history of runs."""


def configure_dlt() -> None:
    """Make dlt read this project's `.dlt/` and resolve relative paths from its root.

    dlt looks for `.dlt/` in the current directory only, while a code location is loaded from any
    directory. What the environment already says is kept. Call it before dlt is first used.
    """
    os.environ.setdefault("DLT_PROJECT_DIR", str(ROOT))
    os.environ.setdefault("DLT_LOCAL_DIR", str(ROOT))
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")


def project_directory() -> Path:
    """Return the folder of `.dlt/`, where relative paths of the settings begin."""
    return Path(os.environ.get("DLT_PROJECT_DIR", "."))


def data_directory() -> Path:
    """Return where the stand-alone project keeps its files: `data/` in dlt's local directory."""
    return Path(os.environ.get("DLT_LOCAL_DIR", ROOT)) / "data"


def mounted_data_directory() -> Path:
    """Return where the files go in somebody else's deployment: in `DAGSTER_HOME`, never beside its code."""
    home = os.environ.get("DAGSTER_HOME")
    return Path(home) / "crm_assets" if home else Path.home() / ".crm_assets"


def exposed_secrets() -> str | None:
    """Return what to do if `.dlt/secrets.toml` can be read by others; None if it cannot, or does not exist."""
    file = project_directory() / ".dlt" / "secrets.toml"
    if not file.exists() or not file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return None
    return f"Warning: others can read {file}. Keep them out: chmod 600 {file}"

"""A fresh copy of the project, with an environment of its own, and a shell in it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests

from crm_assets.project import ROOT
from crm_assets_tests.deployment import eventually
from crm_assets_tests.documentation.markdown import Step
from crm_assets_tests.programs import free_port

LONG_RUNNING = {
    r"^make dev\b": r"Serving dagster-webserver on (http://\S+)",
    r"^\S*crm-assets sandbox\b": r"sandbox CRM at (http://\S+)",
    r"^\S*dagster-webserver\b": r"Serving dagster-webserver on (http://\S+)",
    r"^\S*dagster-daemon run\b": r"Instance is configured with the following daemons",
}
"""Commands that run until Ctrl-C, and what they print when they are ready: the address, if they have one."""
_ENDS_WITHIN = 60.0


def copy_project(folder: Path) -> None:
    """Copy the project as it stands into `folder`, as a clone would have it: nothing that was made later."""

    def left_out(directory: str, names: list[str]) -> list[str]:
        return [name for name in names if not _is_cloned((Path(directory) / name).relative_to(ROOT))]

    shutil.copytree(ROOT, folder, ignore=left_out)


def _is_cloned(path: Path) -> bool:
    if path.parent == Path(".dagster"):
        return path.name == "dagster.yaml"
    made_later = {
        *(".git", ".hypothesis", ".venv", "benchmarks/.venvs", "build", "data"),
        *("campaign.json", "kills.jsonl", ".dlt/secrets.toml"),
    }
    return str(path) not in made_later and not path.name.endswith(("__pycache__", "_cache", ".egg-info"))


def link_environment(folder: Path) -> None:
    """Make `.venv/` in `folder` from the packages of this environment, in a second: `make` then takes it for made."""
    link_packages(folder / ".venv", folder)
    for command in Path(sys.executable).parent.iterdir():
        head, _, code = command.read_bytes().partition(b"\n")
        if head == f"#!{sys.executable}".encode():
            script = folder / ".venv" / "bin" / command.name
            script.write_bytes(f"#!{folder}/.venv/bin/python\n".encode() + code)
            script.chmod(0o755)
        elif command.name in ("ruff", "uv"):
            (folder / ".venv" / "bin" / command.name).symlink_to(command)
    (folder / ".venv" / "installed").touch()


def link_packages(venv: Path, *first: Path) -> None:
    """Make a virtual environment that sees the packages of this one, and before them what is in the folders `first`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    [packages] = venv.glob("lib/python*/site-packages")
    # A plain line of a .pth file adds the folder without the .pth files in it: not the checkout, which is one of them.
    (packages / "linked.pth").write_text("\n".join(map(str, [*first, sysconfig.get_path("purelib")])))


def bare_environment(home: Path) -> dict[str, str]:
    """Return the environment of somebody who has just logged in, with free ports, and with what pip needs here."""
    home.mkdir()
    python = Path(sys.executable).resolve().parent
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{python}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "DLT_DATA_DIR": str(home / ".dlt"),  # where it is, but for root, for whom it is /var/dlt
        "PORT": str(free_port()),
        "SANDBOX__PORT": str(free_port()),
    }


@dataclass
class Shell:
    """A person's shell: what a command sets, the next one finds."""

    folder: Path
    variables: dict[str, str]
    instead: Mapping[str, str] = field(default_factory=dict)
    """What a reader puts in the place of what a document shows: addresses, logins, ports."""

    def run(self, step: Step, **more: str) -> str:
        """Run a command and return what it printed; one that runs until Ctrl-C, until it is ready.

        Raises:
            AssertionError: it failed, was not ready in time, did not end by Ctrl-C, or prints another thing than shown.
        """
        command = self.adapted(step.command)
        ready = next((sign for pattern, sign in LONG_RUNNING.items() if re.search(pattern, command)), None)
        printed = self._until_ready(command, ready) if ready else self._to_its_end(command, more)
        shown = _normalized("\n".join(step.sample))
        assert shown in _normalized(printed), f"$ {command}\nprints:\n{printed}\nand not:\n" + "\n".join(step.sample)
        return printed

    def adapted(self, text: str) -> str:
        """Return `text` with what a reader would put in the place of what is shown."""
        for shown, meant in self.instead.items():
            text = text.replace(shown, meant)
        return text

    def _to_its_end(self, command: str, more: dict[str, str]) -> str:
        kept = self.folder / ".environment"
        done = subprocess.run(
            ["/bin/bash", "-c", f'{command}\nstatus=$?; env -0 > "{kept}"; exit $status'],
            cwd=self.folder,
            env=self.variables | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"$ {command}\nends with exit code {done.returncode}:\n{done.stdout}"
        after = dict(entry.partition("=")[::2] for entry in kept.read_text().split("\0") if entry)
        kept.unlink()
        self.variables = {name: value for name, value in after.items() if name not in ("_", *more)}
        return done.stdout

    def _until_ready(self, command: str, sign: str) -> str:
        log = self.folder / ".log"
        with (
            log.open("wb") as output,
            subprocess.Popen(
                ["/bin/bash", "-c", command],
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            ) as process,
        ):
            try:
                found = eventually(lambda: re.search(sign, log.read_text()) or process.poll() is not None)
                assert isinstance(found, re.Match), f"$ {command}\nended by itself:\n{log.read_text()}"
                if found.groups():
                    eventually(lambda: _is_reachable(found[1]))
                os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does: all processes of the command get it
                process.wait(_ENDS_WITHIN)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        return log.read_text()


def _is_reachable(address: str) -> bool:
    try:
        return requests.get(address, timeout=10).ok
    except requests.ConnectionError:
        return False


def _normalized(text: str) -> str:
    """Return `text` without what differs between two runs: seconds, times, and the widths that follow from them."""
    lines = (" ".join(re.sub(r"\d+\.\d+", "0.0", line).split()) for line in text.splitlines())
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "0000-00-00 00:00", "\n".join(lines)).strip()

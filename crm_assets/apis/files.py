"""Where the configuration of an API stands: in a Python or YAML file, in a module, or among those that come along."""

import ast
import builtins
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from zlib import crc32

import yaml

from crm_assets.apis.references import Referring
from crm_assets.errors import ApiConfigError

SHIPPED: Mapping[str, Path] = {name: Path(__file__).with_name(f"{name}.py") for name in ("v1", "agilecrm")}
"""The files of the APIs that come with the project, by the value of `sources.<account>.api`."""

_LAST = "<the last expression>"
_REST_API = "dlt.sources.rest_api"


def find_config(api: str, folder: Path) -> tuple[Any, Path]:
    """Return the configuration that `api` names, not validated, and the file in which it stands.

    Args:
        api: `v1`, a path that ends with `.py`, `.yaml` or `.yml`, or `module:NAME`. `:NAME` may follow a `.py` too.
        folder: where a relative path begins.

    Raises:
        ApiConfigError: there is no such file, it cannot be read, or it holds no configuration.
    """
    if api in SHIPPED:
        return _from_python(SHIPPED[api], ""), SHIPPED[api]
    place, _, name = api.partition(":") if not Path(api).suffix else (api, "", "")
    if not name and ".py:" in api:
        place, _, name = api.rpartition(":")
    path = folder / place
    match path.suffix:
        case ".py":
            return _from_python(_existing(path, api), name), path
        case ".yaml" | ".yml":
            return _from_yaml(_existing(path, api)), path
    if not name:
        raise ApiConfigError(
            f"There is no API called {api!r}. Name one that comes along ({', '.join(SHIPPED)}), a file "
            "(apis/shop.yaml, apis/shop.py), or a module and a name (my_package.shop:API)."
        )
    file = _module_file(place)
    return _from_python(file, name, module=place), file


def beside(file: Path, name: str) -> Any:
    """Return what `name`, such as `models.py:Product`, says, in the folder of `file`.

    The file becomes a module, so that a class of it knows where it comes from.

    Raises:
        ImportError, AttributeError: there is no such file, or nothing in it that is called so.
    """
    place, _, attribute = name.rpartition(":")
    path = file.parent / place
    module_name = f"_beside_{crc32(str(path.resolve()).encode()):08x}_{path.stem}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None or not path.exists():
            raise ImportError(f"there is no file {path}")
        module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
    return getattr(sys.modules[module_name], attribute)


def _existing(path: Path, api: str) -> Path:
    if not path.is_file():
        raise ApiConfigError(f"There is no file {path}, which is named as the API ({api!r}).")
    return path


def _module_file(module: str) -> Path:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise ApiConfigError(f"The module {module!r} of the API cannot be found: {error}") from None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ApiConfigError(f"There is no module {module!r}, which is named as the API's.")
    return Path(spec.origin)


def _from_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        hint = " Put {{ ... }} in quotes." if "unhashable" in str(error) else ""
        raise ApiConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}.{hint}") from None


def _from_python(path: Path, name: str, module: str = "") -> Any:
    """Return what the file calls `name`, or its only configuration.

    The file runs with an `import dlt` of its own, whose secrets are references: the values are not known yet.
    """
    values: dict[str, Any] = {
        "__builtins__": {**vars(builtins), "__import__": _import},
        "__file__": str(path),
        "__name__": module or path.stem,
        "__package__": module.rpartition(".")[0],
        "dlt": _DLT,
    }
    try:
        exec(_compiled(path), values)  # noqa: S102 - the user's own code, as an import would run it
    except Exception as error:
        line = getattr(error, "lineno", None) or _line_of(error, path)
        raise ApiConfigError(f"{path}, line {line}: {type(error).__name__}: {error}") from error
    if name:
        if name not in values:
            raise ApiConfigError(f"{path} has no {name!r}.")
        return values[name]
    return _only_config({key: value for key, value in values.items() if not key.startswith("__")}, path)


def _compiled(path: Path) -> CodeType:
    """Compile the file so that a value at its end, which nothing takes, has a name."""
    tree = ast.parse(path.read_bytes(), str(path))
    if tree.body and isinstance(last := tree.body[-1], ast.Expr):
        named = ast.Assign([ast.Name(_LAST, ast.Store())], last.value)
        tree.body[-1] = ast.fix_missing_locations(ast.copy_location(named, last))
    return compile(tree, str(path), "exec")


def _line_of(error: Exception, path: Path) -> int | None:
    """Return the last line of the file that was at work when `error` came up."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _only_config(values: Mapping[str, Any], path: Path) -> Any:
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    found = {name: value for name, value in tables.items() if {"client", "resources"} & value.keys()} or tables
    if len({id(value) for value in found.values()}) == 1:  # the same one may have two names
        return next(iter(found.values()))
    if not found:
        raise ApiConfigError(f"{path} holds no dictionary with `client` and `resources`.")
    names = ", ".join(found)
    raise ApiConfigError(f"{path} holds several dictionaries: {names}. Say which one is the API: {path.name}:NAME.")


class _StandIn(ModuleType):
    """A module of dlt in which some names mean something else."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


def _only_the_config(config: Any, *_: Any, **__: Any) -> Any:
    """Stand for `rest_api_source` and `rest_api_resources`: what they are given is all that is wanted."""
    return config


_DLT: Any = _StandIn("dlt")
_DLT.secrets, _DLT.config = Referring("dlt.secrets"), Referring("dlt.config")
_REST_API_MODULE: Any = _StandIn(_REST_API)
_REST_API_MODULE.rest_api_source = _REST_API_MODULE.rest_api_resources = _only_the_config


def _import(
    name: str,
    globals: Mapping[str, object] | None = None,  # noqa: A002 - the names that Python gives them
    locals: Mapping[str, object] | None = None,  # noqa: A002
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """Import as Python does, but for dlt's secrets, its configuration, and its rest_api source."""
    if level == 0 and name == "dlt":
        return _DLT  # type: ignore[no-any-return]
    if level == 0 and name == _REST_API and fromlist:
        return _REST_API_MODULE  # type: ignore[no-any-return]
    found = builtins.__import__(name, globals, locals, fromlist or (), level)
    return _DLT if level == 0 and found.__name__ == "dlt" else found

"""Where the configuration of an API stands, and what it may refer to."""

import re
from pathlib import Path
from typing import Any

import pytest

from crm_assets.apis.api import Api, load_api
from crm_assets.apis.references import Reference, references_in
from crm_assets.errors import ApiConfigError
from crm_assets_tests.conftest import RESOURCES

DICTIONARY = (Path(__file__).parent / "guide.py.txt").read_text()
"""The dictionary of the configuration guide, word for word."""
NAMES = re.findall(r'"name": "(\w+)"', DICTIONARY)
IMPORTS = "import dlt\nfrom dlt.sources.rest_api import rest_api_source\n\n"
SHOP = """
client:
  base_url: https://shop.example.com
  auth: {type: bearer, token: "{{ env.SHOP_TOKEN }}"}
resources:
  - name: products
    primary_key: sku
    endpoint: {path: products, params: {shop: "{{ dlt.secrets.shops.id }}"}}
"""
LOGIN = {Reference("dlt.secrets", "email"), Reference("dlt.secrets", "api_key")}


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (DICTIONARY, ""),
        (f"{IMPORTS}source = rest_api_source({DICTIONARY})\n", ""),
        (f"import dlt\n\nCRM = {DICTIONARY}\n", ""),
        (f"import dlt\n\nCRM = {DICTIONARY}\nOTHER = {{'client': {{}}, 'resources': []}}\n", ":CRM"),
    ],
    ids=["the dictionary and nothing else", "the guide's page", "a name", "one of two names"],
)
def test_the_guides_dictionary_is_an_api_as_it_is_and_needs_no_secret(tmp_path: Path, text: str, name: str) -> None:
    api = load_api(written(tmp_path, "crm.py", text) + name, tmp_path)
    assert len(NAMES) == 11
    assert [one.name for one in api.resources] == NAMES
    assert {one.name: one.has_pages for one in api.resources} == {name: RESOURCES[name].has_pages for name in NAMES}
    assert set(api.references) == LOGIN
    assert not [one for one in api.resources if one.model]
    assert api.file == tmp_path / "crm.py"


def test_a_module_and_a_name_are_an_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "crm_of_ours.py", f"import dlt\nfrom pathlib import Path\nCRM = {DICTIONARY}\nHERE = Path()\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert len(load_api("crm_of_ours:CRM", Path("/")).resources) == len(NAMES)


def test_a_yaml_file_is_an_api_and_refers_to_secrets_and_the_environment(tmp_path: Path) -> None:
    api = load_api(written(tmp_path, "shop.yaml", SHOP), tmp_path)
    assert [(one.name, one.primary_key, one.write_disposition) for one in api.resources] == [
        ("products", ("sku",), "append")
    ]
    assert set(api.references) == {Reference("env", "SHOP_TOKEN"), Reference("dlt.secrets", "shops.id")}


def test_secrets_can_be_a_part_of_a_text(tmp_path: Path) -> None:
    text = """
import dlt
CRM = {
    "client": {"base_url": "https://a.example.com", "headers": {"X-Key": f"key {dlt.secrets['key']}"}},
    "resources": ["notes"],
}
"""
    api: Api = load_api(written(tmp_path, "crm.py", text), tmp_path)
    assert api.references == (Reference("dlt.secrets", "key"),)


@pytest.mark.parametrize(
    ("default", "value"),
    [
        ("'2015-01-01'", "2015-01-01"),
        ("''", ""),
        ("30", 30),
        ("-2.5", -2.5),
        ("True", True),
        ("None", None),
        ("""'say "ü", \\'{x}\\' \\\\ }}'""", "say \"ü\", '{x}' \\ }}"),
    ],
)
def test_a_default_in_python_is_one_in_the_text_of_a_reference_too(tmp_path: Path, default: str, value: Any) -> None:
    endpoint = f"{{'params': {{'a': dlt.config.get('a', {default})}}}}"
    resources = f"[{{'name': 'notes', 'endpoint': {endpoint}}}]"
    file = written(tmp_path, "crm.py", f"import dlt\nCRM = {{'client': {{}}, 'resources': {resources}}}\n")
    api = load_api(file, tmp_path)
    (reference,) = api.references
    assert (reference.source, reference.name) == ("dlt.config", "a")
    assert reference.or_default(None) == value
    assert type(reference.or_default(None)) is type(value)
    assert reference.or_default("7") == "7"
    assert not reference.is_missing(None)
    assert list(references_in(str(reference))) == [reference]


@pytest.mark.parametrize("text", ["dlt.config.get('a')", "dlt.config.get('a', int)", "dlt.config['a']", "dlt.config.a"])
def test_a_reference_without_a_default_must_be_set(tmp_path: Path, text: str) -> None:
    file = written(
        tmp_path, "crm.py", f"import dlt\nCRM = {{'client': {{'headers': {{'a': {text}}}}}, 'resources': ['b']}}\n"
    )
    api = load_api(file, tmp_path)
    assert api.references == (Reference("dlt.config", "a"),)
    assert api.references[0].is_missing(None)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ('{{ dlt.config.get("a", "b c") }}', Reference("dlt.config", "a", '"b c"')),
        ("{{dlt.config.get('a.b','c')}}", Reference("dlt.config", "a.b", '"c"')),
        ("{{ dlt.secrets.get('a', null) }}", Reference("dlt.secrets", "a", "null")),
        ("{{ dlt.config.get('a', True) }}", Reference("dlt.config", "a", "true")),
        ("{{ dlt.config.get('a', 1e3) }}", Reference("dlt.config", "a", "1000.0")),
        ("{{ env.get('A', 5) }}", Reference("env", "A", "5")),
        ("{{ dlt.config.get('a') }}", Reference("dlt.config", "a")),
    ],
)
def test_a_default_can_be_written_in_yaml(text: str, reference: Reference) -> None:
    assert list(references_in({"x": [f"before {text} after"]})) == [reference]


@pytest.mark.parametrize("default", ["['a']", "float('nan')"])
def test_a_default_that_no_text_can_hold_is_named_with_the_line(tmp_path: Path, default: str) -> None:
    file = written(tmp_path, "crm.py", f"import dlt\n\nCRM = {{'client': dlt.config.get('a', {default})}}\n")
    with pytest.raises(ApiConfigError, match=r"crm\.py, line 3: (TypeError: the default of a must be|ValueError)"):
        load_api(file, tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.py", None, "There is no file .*none.py, which is named as the API"),
        ("crm.py", "CRM = {\n  'client': {},\n", "crm.py, line 1: SyntaxError"),
        ("crm.py", "import dlt\n\nCRM = {'client': nothing}\n", "crm.py, line 3: NameError: name 'nothing' is not"),
        ("crm.py", "import dlt\n", "crm.py holds no dictionary with `client` and `resources`"),
        ("crm.py", "A = {'client': {}}\nB = {'client': {}}\n", "several dictionaries: A, B. Say which .* crm.py:NAME"),
        ("crm.py:C", "A = {'client': {}}\n", "crm.py has no 'C'"),
        ("crm.yaml", "client: [", "crm.yaml is not valid YAML: .* line 1"),
        ("crm.yaml", "client: {token: {{ env.X }}}", "crm.yaml is not valid YAML.*in quotes"),
        ("crm.yaml", "client: {}", "crm.yaml: resources: is missing"),
        ("v7", None, "There is no API called 'v7'. Name one that comes along .v1, agilecrm., a file"),
        ("no_such_module:API", None, "There is no module 'no_such_module'"),
    ],
)
def test_a_file_that_holds_no_api_is_named_with_the_line(
    tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    if text is not None:
        written(tmp_path, name.partition(":")[0], text)
    with pytest.raises(ApiConfigError, match=said):
        load_api(name, tmp_path)

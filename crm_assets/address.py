"""The address of a CRM: as the configuration of its API says, with the parts that each account sets."""

import re
from urllib.parse import urlsplit

from crm_assets.apis.references import Reference, references_in, resolved
from crm_assets.errors import SettingError
from crm_assets.settings import SANDBOX, AccountSettings, explain_reference, find_reference, setting_origin

_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
"""A part of a host's name between two dots (RFC 1123)."""
_HERE = "\0"
"""Stands for a reference where only its place matters."""


def composed_address(written: str, account: str) -> str | None:
    """Return the address `written` with the values of what it refers to; None if one of them is not set.

    What stands in a part of the host must be one label of its name, so that the login goes to no other host than is
    written. A reference that is the whole host, or the beginning of an address without a scheme, takes more.

    Args:
        written: `base_url` of the API's configuration.
        account: name of the account.

    Raises:
        SettingError: a value in the host is no label. Names the setting.
    """
    found = {one: one.or_default(find_reference(account, one)) for one in references_in(written)}
    if None in found.values():
        return None
    for one in _in_host(written):
        if not _LABEL.fullmatch(str(found[one])):
            raise SettingError(explain_reference(account, one, _problem(written, one, str(found[one]))))
    return str(resolved(written, found.__getitem__))


def missing_address(written: str | None, account: str) -> str:
    """Return what is to be said of an account that has no address, because it is not set, or a part of it is not."""
    missing = [one for one in _own_parts(written) if one.is_missing(find_reference(account, one))]
    if not missing:
        return AccountSettings.explain(account, "base_url", "missing", "")
    lines = "\n".join(explain_reference(account, one, "is not set") for one in dict.fromkeys(missing))
    return f"{lines.removesuffix('.')}; or set `base_url`, the whole address."


def refuse_sandbox(written: str | None, account: str) -> None:
    """Refuse the sandbox for an account whose settings say which CRM is meant.

    Args:
        written: `base_url` of the API's configuration, in whose place the account names the sandbox.
        account: name of the account.

    Raises:
        SettingError: something that the address refers to is set. Names it, and where it is set.
    """
    section = f"sources.{account}"
    for one in _own_parts(written):
        # A variable called DOMAIN, without the section, may well be about something else.
        if one.source != "env" and (origin := setting_origin(f"{section}.{one.name}")):
            raise SettingError(
                f"{section}.base_url is `{SANDBOX}`, and {section}.{one.name} is set ({origin.place}): the sandbox "
                "would be loaded in place of the CRM that is meant. Remove one of the two."
            )


def _own_parts(written: str | None) -> list[Reference]:
    """Return what the address refers to beside the setting `base_url`, which replaces it."""
    return [one for one in references_in(written) if one.source == "env" or one.name != "base_url"]


def _in_host(written: str) -> list[Reference]:
    """Return what an address refers to in its scheme, its port, or a part of its host."""
    scheme, host = _scheme_and_host(written)
    if host.partition(":")[0] == _HERE:
        return []
    return [*references_in(written)][: scheme.count(_HERE) + host.count(_HERE)]


def _scheme_and_host(written: str) -> tuple[str, str]:
    """Return the two, with marks in the place of references; nothing for an address that names no scheme."""
    scheme, is_named, rest = str(resolved(written, lambda _: _HERE)).partition("://")
    return (scheme, re.split(r"[/?#\\]", rest, maxsplit=1)[0]) if is_named else ("", "")


def _problem(written: str, reference: Reference, value: str) -> str:
    example = resolved(written, lambda one: f"<{one.name}>")
    meant = None if reference.is_secret else _meant(written, value)
    said = f"`{meant}` is meant" if meant else "letters, digits and hyphens, at most 63, no hyphen at an end"
    return f"cannot be used: it must be the part <{reference.name}> of {example} alone ({said})"


def _meant(written: str, value: str) -> str | None:
    """Return the label that `value`, the whole host or an address with it, has in the place of the reference."""
    before, *after = _scheme_and_host(written)[1].lower().split(_HERE)
    try:
        host = urlsplit(value if "://" in value else f"//{value}").hostname or ""
    except ValueError:
        return None
    if len(after) != 1 or not (host.startswith(before) and host.endswith(after[0])):
        return None
    label = host.removeprefix(before).removesuffix(after[0])
    return label if _LABEL.fullmatch(label) else None

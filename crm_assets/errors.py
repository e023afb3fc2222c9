"""What can go wrong, said to the person who must act.

Each error carries a `reason`: one word that a script, a sensor or an exit code can act upon.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

Reason = Literal["setting", "login", "unavailable", "data", "warehouse", "disk"]


class CrmAssetsError(Exception):
    """Every error that this project raises on purpose.

    `reason` tells what kind of help is needed; `worth_retrying` whether the same attempt may
    succeed a little later without anyone's help.
    """

    reason: Reason = "data"
    worth_retrying: bool = False


class SettingError(CrmAssetsError):
    """A setting is missing or cannot be used. The message names the setting, its file and its variable."""

    reason = "setting"


class ApiConfigError(CrmAssetsError):
    """The configuration of an API has an unknown key, resource or paginator. The message names it."""

    reason = "setting"


class CrmError(CrmAssetsError):
    """One resource of the CRM could not be read.

    `resumable` tells whether the next attempt may go on where this one stopped.

    Args:
        resource: name of the resource, e.g. `tickets`.
        why: what happened, with HTTP status, address without secrets, attempts and seconds.
        advice: what the reader can do about it.
        status: status of the last response; None if there was none.
    """

    resumable: bool = True

    def __init__(self, resource: str, why: str, advice: str, *, status: int | None = None) -> None:
        super().__init__(f"{resource}: {why}. {advice}")
        self.resource = resource
        self.why = why
        self.advice = advice
        self.status = status


class LoginRefused(CrmError):
    """The CRM answered 401 or 403. Never retried: a repeated wrong login can lock the account."""

    reason = "login"


class CrmUnavailable(CrmError):
    """The CRM gave no usable response within the retries: 429, 5xx, time-out, lost connection."""

    reason = "unavailable"
    worth_retrying = True


class UnexpectedResponse(CrmError):
    """The CRM answered, but not with the listing: another status, another shape, a redirect, a cut listing."""

    reason = "data"


class EndlessListing(UnexpectedResponse):
    """A cursor or a page came twice, so the listing would never end. Nothing of it can be resumed."""

    resumable = False


class Cancelled(CrmAssetsError):
    """Somebody ended the run while a resource was being read."""

    reason = "unavailable"


class WarehouseError(CrmAssetsError):
    """The warehouse refused the load. The tables that the message does not name are as they were."""

    reason = "warehouse"


class WarehouseLocked(WarehouseError):
    """Another process kept the DuckDB file, or the lake, for longer than `warehouse.lock_timeout`.

    Args:
        message: what is said of it.
        holder: the process that has it.
    """

    worth_retrying = True

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


class WarehouseChanged(WarehouseError):
    """Somebody else wrote to a table of a lake while a run loaded it."""

    worth_retrying = True


class TableLocked(WarehouseError):
    """Another run loaded the same table for longer than `warehouse.lock_timeout`."""

    worth_retrying = True


class ListingSuperseded(WarehouseError):
    """The table has been loaded, as a rule by another machine, since the listing began that was resumed here.

    Args:
        resource: name of the resource.
        started: when the listing began, e.g. `08:15`.
        loaded: when the table was loaded.
    """

    worth_retrying = True

    def __init__(self, resource: str, started: str, loaded: str) -> None:
        super().__init__(
            f"{resource}: the resumed listing began at {started} UTC, and its table has been loaded since, at {loaded} "
            "UTC. It would bring back what was, and is dropped. Run again: it is read from the start."
        )


class DiskError(CrmAssetsError):
    """A file or folder of this machine could not be written. The message names it, and what was not done."""

    reason = "disk"

    @classmethod
    def of(cls, error: OSError, doing: str) -> "DiskError":
        """Return what `error` of the operating system, which came up while `doing`, means for the reader."""
        where = f"{error.filename}: " if error.filename else ""
        return cls(
            f"{where}{error.strerror or error}, while {doing}. Tables that were not reached are unchanged. "
            "Free some disk space, or allow this user to write there, and run again."
        )


class PartialSyncError(CrmAssetsError):
    """Some resources did not load. The message names each, why, and what became of the others.

    Args:
        failed: the error of each of them.
        landed: the resources that are loaded, those of an earlier attempt included.
    """

    def __init__(self, failed: Mapping[str, CrmAssetsError], landed: Collection[str]) -> None:
        causes = dict.fromkeys(map(str, failed.values()))
        super().__init__("\n".join([f"{', '.join(failed)} did not load. {_what_landed(sorted(landed))}", *causes]))
        self.reasons: dict[str, Reason] = {resource: error.reason for resource, error in failed.items()}
        self.problems = {resource: str(error) for resource, error in failed.items()}
        kinds = set(self.reasons.values())
        self.reason = kinds.pop() if len(kinds) == 1 else "data"
        self.worth_retrying = any(error.worth_retrying for error in failed.values())


def own_error(error: Exception, resource: str) -> CrmAssetsError:
    """Return the project's own error inside the layers that a library put around it, or else one that says `error`."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, CrmAssetsError):
            return inner
        inner = inner.__cause__ or inner.__context__
    if isinstance(error, OSError):
        return DiskError.of(error, f"reading {resource}")
    return CrmAssetsError(f"{resource}: {type(error).__name__}: {error}. Its table is untouched.")


def _what_landed(landed: Sequence[str]) -> str:
    match len(landed):
        case 0:
            return "No table was loaded."
        case 1:
            return f"The table {landed[0]} is loaded."
        case count:
            return f"The other {count} tables are loaded."

"""The checks of one table: each looks at the context and says what it found."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from crm_assets.account import Account
from crm_assets.apis.api import Resource
from crm_assets.load.reported_count import about_equal
from crm_assets.models.columns import column_name, variant_of
from crm_assets.quality.table_probe import MAX_FAILED_ROWS, TableProbe, TableStats
from crm_assets.settings import CheckSettings
from crm_assets.text import counted

if TYPE_CHECKING:
    from crm_assets.load.resource_loads import ResourceLoad

Severity = Literal["WARN", "ERROR"]


@dataclass(frozen=True)
class CheckContext:
    """Everything that the checks of one table can use. `loads` starts with the latest."""

    resource: Resource
    key: str
    """Key of the asset, for messages."""
    stats: TableStats
    probe: TableProbe
    loads: "Sequence[ResourceLoad]"
    settings: CheckSettings

    @property
    def was_interrupted(self) -> bool:
        """Whether a load was killed before all that it was about was done; the next one does it."""
        newest = self.stats.newest_load
        if not self.loads or not newest:
            return False
        return newest > self.loads[0].load_id or self.loads[0].rows_after is None


@dataclass(frozen=True)
class CheckOutcome:
    """What one check found. `failed_rows` is a table with a head, at most ten rows long."""

    passed: bool
    description: str
    severity: Severity = "ERROR"
    counts: Mapping[str, int | float] = field(default_factory=dict)
    head: Sequence[str] = ()
    failed_rows: Sequence[Sequence[Any]] = ()
    sql: str = ""
    """The query that found it; empty where the record of loads did."""


Check = Callable[[CheckContext], CheckOutcome]


def _interrupted(context: CheckContext) -> str:
    if context.resource.write_disposition == "append":
        return "A load was interrupted after it had appended its rows. They stay, and the next one appends again."
    return "A load was interrupted while it wrote this table; the next one completes it."


def schema(context: CheckContext) -> CheckOutcome:
    """Every declared column is in the table, with its declared type."""
    wrong = context.stats.wrong
    counts = {"declared_columns": len(context.resource.columns), "wrong_columns": len(wrong)}
    if not context.resource.columns:
        return CheckOutcome(True, "No column is declared: each has the type of its first values.", counts=counts)
    if not wrong:
        return CheckOutcome(True, f"All {counts['declared_columns']} declared columns are as declared.", counts=counts)
    listed = "; ".join(f"{name} {problem}" for name, problem in wrong.items())
    return CheckOutcome(False, f"{listed}.", counts=counts, head=("column", "problem"), failed_rows=list(wrong.items()))


def nulls(context: CheckContext) -> CheckOutcome:
    """Required columns contain no NULL."""
    bad = {name: count for name, count in context.stats.nulls.items() if count}
    if not bad:
        return CheckOutcome(True, "No NULL in a required column.", counts={"nulls": 0})
    listed = "; ".join(f"{name} is NULL in {counted(count, 'row')}" for name, count in bad.items())
    return CheckOutcome(
        False, f"{listed}.", counts={"nulls": sum(bad.values())}, head=("column", "rows"), failed_rows=list(bad.items())
    )


def unique_id(context: CheckContext) -> CheckOutcome:
    """Each id, which is the primary key, occurs in one row, and once in the last listing."""
    repeated, key = context.stats.repeated, context.resource.key
    twice = list(context.loads[0].repeated_ids) if context.loads else []
    counts = {"repeated_rows": repeated, "repeated_in_listing": len(twice)}
    if repeated:
        rows = context.probe.repeated_keys(context.resource)
        listed = _listed(_id_of(key, row) for row in rows)
        return CheckOutcome(
            False,
            f"{counted(repeated, 'row repeats', 'rows repeat')} an id: {listed}.",
            counts=counts,
            head=(*key, "rows"),
            failed_rows=rows,
        )
    if twice:
        listed = _listed(map(str, twice[:MAX_FAILED_ROWS]))
        before = set(context.loads[1].repeated_ids) if len(context.loads) > 1 else set()
        # A record that comes to the front of a listing pushes another one to the next page: that is no defect.
        is_paging = context.resource.has_pages and not before & set(twice)
        return CheckOutcome(
            False,
            f"The last listing had {counted(len(twice), 'id')} more than once: {listed}. The table has each once.",
            "WARN" if is_paging else "ERROR",
            counts,
            (", ".join(key),),
            [(one,) for one in twice[:MAX_FAILED_ROWS]],
        )
    moved = context.loads[0].moved_ids if context.loads else ()
    if moved:
        listed = _listed(map(str, moved[:MAX_FAILED_ROWS]))
        return CheckOutcome(
            False,
            f"{counted(len(moved), 'record')} changed while the listing was read, and came twice: {listed}. "
            "The table has the newest version.",
            "WARN",
            counts,
            (", ".join(key),),
            [(one,) for one in moved[:MAX_FAILED_ROWS]],
        )
    return CheckOutcome(True, "Every id is unique.", counts=counts)


def _id_of(key: Sequence[str], row: Sequence[Any]) -> str:
    """Return the key with which `row` begins as a person reads it: its value, or `a=1, b=x`."""
    values = [str(value) for value in row[: len(key)]]
    return values[0] if len(key) == 1 else ", ".join(f"{name}={value}" for name, value in zip(key, values, strict=True))


def _listed(ids: Iterable[str]) -> str:
    found = list(dict.fromkeys(ids))
    return ("; " if any(", " in one for one in found) else ", ").join(found)


def drift(context: CheckContext) -> CheckOutcome:
    """The CRM sends the same fields, with the same JSON types, as in the loads before."""
    if not context.loads:
        return CheckOutcome(True, "No load is recorded.", "WARN")
    now = context.loads[0].fields
    declared = {column.name for column in context.resource.columns}
    undeclared = sorted(name for name in now if column_name(name) not in declared) if declared else []
    found = _changes(context)
    counts = {"fields": len(now), "undeclared_fields": len(undeclared), "changed_fields": len(found)}
    if found:
        listed = "; ".join(f"{name} {what}" for name, what in found[:MAX_FAILED_ROWS])
        return CheckOutcome(False, f"{listed}.", "WARN", counts, ("field", "change"), found[:MAX_FAILED_ROWS])
    also = f" Undeclared: {', '.join(undeclared[:MAX_FAILED_ROWS])}." if undeclared else ""
    return CheckOutcome(True, f"The CRM sends the same fields as before.{also}", "WARN", counts)


def _changes(context: CheckContext) -> list[tuple[str, str]]:
    """Return the fields that came, went, or have other types than in the load before."""
    last, *earlier = context.loads
    if not earlier:
        return []
    now, before = last.fields, earlier[0].fields
    known = {name for load in earlier for name in load.fields}
    found = [(name, "is new") for name in now if name not in known]
    # A much smaller listing, or one of what is new, may just lack the records that have the rarer fields.
    are_whole = last.since is None and earlier[0].since is None
    if are_whole and last.records >= earlier[0].records * (1 - context.settings.row_count_drop):
        found += [(name, "is no longer sent") for name in before if before[name] and not now.get(name)]
    found += [
        (name, f"was {' or '.join(before[name])}, is {' or '.join(now[name])}")
        for name in now
        if before.get(name) and now[name] and not set(now[name]) & set(before[name])
    ]
    return found


def rejected(context: CheckContext) -> CheckOutcome:
    """No record of the last load was rejected."""
    if not context.loads:
        return CheckOutcome(True, "No load is recorded.", "WARN")
    last = context.loads[0]
    share = last.rows_rejected / last.records if last.records else 0.0
    limit = context.settings.rejected_share
    counts = {"rejected": last.rows_rejected, "records": last.records, "share": round(share, 4), "limit": limit}
    if not last.rows_rejected:
        return CheckOutcome(True, "No record was rejected.", "WARN", counts)
    sql, why = context.probe.rejected(context.resource.name, last.load_id)
    listed = "; ".join(f"{row[0] or 'no id'}: {row[1]}" for row in why)
    return CheckOutcome(
        False,
        f"{last.rows_rejected:,} of {counted(last.records, 'record')} rejected, see rejected_records: {listed}.",
        "ERROR" if share > limit else "WARN",
        counts,
        ("id", "reason"),
        why,
        sql,
    )


def types(context: CheckContext) -> CheckOutcome:
    """Every value is in its column: none is of another type than the column holds."""
    stats = context.stats
    found = {name: count for name, count in stats.variants.items() if count}
    share = stats.variant_rows / stats.living if stats.living else 0.0
    limit = context.settings.rejected_share
    counts = {"values": sum(found.values()), "rows": stats.variant_rows, "share": round(share, 4), "limit": limit}
    if not found:
        return CheckOutcome(True, "Every value fits the type of its column.", "WARN", counts)
    key = context.resource.key
    rows = {name: context.probe.variant_values(context.resource, name) for name in found}
    listed = "; ".join(_of_other_type(name, found[name], key, rows[name]) for name in found)
    failed_rows = [(name, *row) for name in found for row in rows[name]][:MAX_FAILED_ROWS]
    severity: Severity = "ERROR" if share > limit else "WARN"
    return CheckOutcome(False, f"{listed}.", severity, counts, ("column", *key, "value"), failed_rows)


def _of_other_type(variant: str, count: int, key: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    column, data_type = variant_of(variant) or (variant, "text")
    ids = f": ids {_listed(_id_of(key, row) for row in rows)}" if key else ""
    return f"{column} is {data_type} in {counted(count, 'row')}, see {variant}{ids}"


def row_count(context: CheckContext) -> CheckOutcome:
    """Neither the table nor the listing has lost many rows."""
    rows = context.stats.living
    if not context.loads:
        return CheckOutcome(True, f"{counted(rows, 'row')}; no load is recorded.", "WARN", {"rows": rows})
    last, *earlier = context.loads
    if last.deletes_blocked:
        return _deletes_blocked(context.resource, last, rows)
    left = last.rows_after or 0
    # The listing before is what counts: a loss that the next listing confirms is none any more.
    # What is appended may be more at one time and less at another, and so may what is new.
    is_compared = context.resource.write_disposition != "append" and not last.deletes_allowed and last.since is None
    before = next((one.records for one in earlier if one.since is None), 0) if is_compared else 0
    limit = context.settings.row_count_drop
    counts = {"rows": rows, "rows_after_load": left, "records": last.records, "records_before": before, "limit": limit}
    if loss := _loss(left, rows, limit):
        return CheckOutcome(False, f"The table has {counted(rows, 'row')}; it had {left:,}.", loss, counts)
    if loss := _loss(before, last.records, limit):
        listed = counted(last.records, "record")
        return CheckOutcome(False, f"The last listing has {listed}; the one before had {before:,}.", loss, counts)
    return CheckOutcome(True, f"{counted(rows, 'row')}, {last.records:,} in the last listing.", "WARN", counts)


def _loss(before: int, now: int, limit: float) -> Severity | None:
    if before and not now:
        return "ERROR"
    return "WARN" if now < before * (1 - limit) else None


def _deletes_blocked(resource: Resource, last: "ResourceLoad", rows: int) -> CheckOutcome:
    why = "which is shorter than the CRM says" if last.listing_is_short else "more than sync.delete_guard allows"
    return CheckOutcome(
        False,
        f"{last.rows_missing:,} of {counted(last.rows_before, 'row')} not in the last listing, {why}: "
        f"nothing was {'deleted' if resource.key else 'loaded'}. "
        f"If that is right, allow it once: crm-assets sync {resource.name} --allow-deletes",
        "ERROR",
        {"rows": rows, "rows_missing": last.rows_missing, "rows_before": last.rows_before},
    )


def complete(context: CheckContext) -> CheckOutcome:
    """All rows of the last load are in the table, and their number matches the CRM's own count."""
    if not context.loads:
        return CheckOutcome(True, "No load is recorded.")
    last, stats = context.loads[0], context.stats
    counts = {"records": last.records, "rows_of_last_load": stats.of_last_load, "rows_loaded": last.rows_loaded}
    if context.was_interrupted:
        return CheckOutcome(False, _interrupted(context), "WARN", counts)
    if stats.of_last_load != last.rows_loaded:
        return CheckOutcome(
            False,
            f"The last load wrote {counted(last.rows_loaded, 'row')}; {stats.of_last_load:,} of them in the table.",
            counts=counts,
        )
    if last.reported_count is not None and last.reported_count != last.records:
        counts["reported_count"] = last.reported_count
        return CheckOutcome(
            False,
            f"The CRM reports {counted(last.reported_count, 'record')}; {last.records:,} fetched.",
            "WARN" if about_equal(last.reported_count, last.records) else "ERROR",
            counts,
        )
    return CheckOutcome(True, f"The table has all of the last load: {counted(last.rows_loaded, 'row')}.", counts=counts)


def unchanged(context: CheckContext) -> CheckOutcome:
    """Nothing but the loads has changed the table and its history."""
    last = context.loads[0] if context.loads else None
    if last is None or last.fingerprints is None:
        return CheckOutcome(True, "The last load recorded no fingerprint.")
    if context.was_interrupted:
        return CheckOutcome(False, _interrupted(context), "WARN")
    if not all(map(context.probe.is_comparable, last.fingerprints.values())):
        return CheckOutcome(True, "Not compared: another version of the warehouse wrote the last load's fingerprint.")
    changes = [context.probe.changes(table, left) for table, left in last.fingerprints.items()]
    found = [change for change in changes if change]
    counts = {"changed_rows": sum(change.rows for change in found)}
    if not found:
        return CheckOutcome(True, f"As the load of {last.loaded_at:%Y-%m-%d %H:%M} UTC left it.", counts=counts)
    listed = "; ".join(change.what for change in found)
    return CheckOutcome(
        False,
        f"Since the load of {last.loaded_at:%Y-%m-%d %H:%M} UTC, and not by a load: {listed}.",
        counts=counts,
        sql=";\n".join(change.sql for change in found if change.sql),
    )


def history(context: CheckContext) -> CheckOutcome:
    """In the history, each row has one version that is valid now, and no two versions of a record overlap."""
    if context.was_interrupted:
        return CheckOutcome(False, _interrupted(context), "WARN")
    found, sql = context.probe.history_faults(context.resource)
    bad = {what: count for what, count in found.items() if count}
    if not bad:
        return CheckOutcome(True, "Each row has one current version.", counts=found, sql=sql)
    listed = "; ".join(f"{counted(count, 'record')} {what}" for what, count in bad.items())
    return CheckOutcome(False, f"{listed}.", counts=found, sql=sql)


def ranges(context: CheckContext) -> CheckOutcome:
    """All values are plausible."""
    broken = {condition: count for condition, count in context.stats.conditions.items() if count}
    counts = {"conditions": len(context.stats.conditions), "broken": sum(broken.values())}
    if not broken:
        return CheckOutcome(True, f"No row breaks any of {len(context.stats.conditions)} conditions.", "WARN", counts)
    failed_rows = [
        (condition.name, *row) for condition in broken for row in context.probe.breaking(context.resource, condition)
    ][:MAX_FAILED_ROWS]
    listed = "; ".join(f"{condition.name} in {counted(count, 'row')}" for condition, count in broken.items())
    key = context.resource.key
    ids = f"; ids {_listed(_id_of(key, row[1:]) for row in failed_rows)}" if key else ""
    return CheckOutcome(False, f"{listed}{ids}.", "WARN", counts, ("condition", *key, "value"), failed_rows)


def references(context: CheckContext) -> CheckOutcome:
    """Ids that refer to another table exist there."""
    limit = context.settings.dangling_share
    found = context.stats.references
    if not found:
        return CheckOutcome(True, "The table that it refers to is not there yet.", "WARN")
    counts = {name: lost for name, (_, lost) in found.items()}
    bad = {name: lost for name, (total, lost) in found.items() if total and lost / total > limit}
    if not bad:
        return CheckOutcome(True, f"At most {limit:.0%} of the references have no target.", "WARN", counts)
    failed_rows = [(name, *row) for name in bad for row in context.probe.lost(context.resource, name)][:MAX_FAILED_ROWS]
    listed = "; ".join(f"{lost:,} of {found[name][0]:,} in {name} have no target" for name, lost in bad.items())
    ids = ", ".join(dict.fromkeys(str(row[-1]) for row in failed_rows))
    head = ("column", *context.resource.key, "reference")
    return CheckOutcome(False, f"{listed}: {ids}.", "WARN", counts, head, failed_rows)


CHECKS: Mapping[str, Check] = {
    "schema": schema,
    "nulls": nulls,
    "unique_id": unique_id,
    "drift": drift,
    "rejected": rejected,
    "types": types,
    "row_count": row_count,
    "complete": complete,
    "unchanged": unchanged,
    "history": history,
    "ranges": ranges,
    "references": references,
}
"""Every check by its name, in the order in which a reader wants them."""

ADVICE: Mapping[str, str] = {
    "schema": "Load the table again: a missing column comes back. A column of another type stops the load, which then "
    "says the SQL that makes room for the right one.",
    "nulls": "Find out what else writes to the table. Load it again: that writes the rows as the CRM has them.",
    "unique_id": "If rows repeat an id, load the table again: it then has each once. If every listing repeats the "
    "same id, report that record to whoever runs the CRM.",
    "drift": "A new field has a column already, of the type of its values; declare it in the model to describe it. "
    "Where a field is gone or has another type, adapt what reads it. The next load takes the fields as they are now.",
    "rejected": "Correct the records in the CRM and load the table again. Until then they are in rejected_records, "
    "whole.",
    "types": "Correct the values in the CRM and load the table again. Until then the column is NULL in those rows, and "
    "the values are in the variant column. If they are right, give the field another type in the model; without a "
    "model, rename or drop both columns, and the next load makes the column anew.",
    "row_count": "See in the CRM whether so many records are gone. If they are, and deletes were blocked, allow them "
    "once with --allow-deletes. If they are not, check what the login may see, and load the table again.",
    "complete": "Load the table again. If the CRM still reports another number than it lists, check what the login "
    "may see.",
    "unchanged": "Find out what else writes to the table. Load it again: that writes the rows as the CRM has them.",
    "history": "Restore the history from a backup: a load cannot bring back versions that the CRM no longer has.",
    "ranges": "Correct the values in the CRM. If they are right there, change the limits in the model.",
    "references": "Load the table that the ids refer to. If the records are gone in the CRM, correct the references "
    "there, or raise checks.dangling_share.",
}
"""What to do when a check fails, by its name. What it expects is the docstring of its function."""


def checks_of(account: Account, resource: Resource) -> list[str]:
    """Return the names of the checks that make sense for `resource` of `account`."""
    without = set()
    if not resource.inherited and not any(column.reference for column in resource.columns):
        without.add("references")
    if not account.sync[resource.name].history:
        without.add("history")
    if not resource.key or resource.write_disposition == "append":
        without.add("unique_id")
    return [name for name in CHECKS if name not in without]


def evaluate_check(name: str, context: CheckContext) -> CheckOutcome:
    """Return the outcome of the check `name`. Of a table that is not there, only `schema` fails."""
    if context.stats.exists:
        outcome = CHECKS[name](context)
        return replace(outcome, sql=outcome.sql or _sql_of(name, context.stats))
    problem = f"There is no table {context.stats.table}"
    if name == "schema":
        return CheckOutcome(False, f"{problem}. Materialize {context.key}.", sql=context.stats.columns_sql)
    return CheckOutcome(True, f"{problem} to check.")


def _sql_of(name: str, stats: TableStats) -> str:
    match name:
        case "schema":
            return stats.columns_sql
        case "drift" | "rejected":
            return ""
        case _:
            return stats.sql

"""The checks of one table: each looks at the context and says what it found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from crm_assets.apis.resources import Resource
from crm_assets.load.reported_count import about_equal
from crm_assets.quality.loads import Load
from crm_assets.quality.table_probe import MAX_FAILED_ROWS, TableProbe, TableStats
from crm_assets.settings import CheckSettings
from crm_assets.text import counted

Severity = Literal["WARN", "ERROR"]


@dataclass(frozen=True)
class CheckContext:
    """Everything that the checks of one table can use. `loads` starts with the latest."""

    resource: Resource
    key: str
    """Key of the asset, for messages."""
    stats: TableStats
    probe: TableProbe
    loads: Sequence[Load]
    settings: CheckSettings


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


def schema(context: CheckContext) -> CheckOutcome:
    """Every declared column is in the table, with its declared type."""
    wrong = context.stats.wrong
    counts = {"declared_columns": len(context.resource.columns), "wrong_columns": len(wrong)}
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
    """Each id occurs in one row, and once in the last listing."""
    repeated = context.stats.repeated
    twice = list(context.loads[0].repeated_ids) if context.loads else []
    counts = {"repeated_rows": repeated, "repeated_in_listing": len(twice)}
    if repeated:
        rows = context.probe.repeated_ids(context.resource.name)
        listed = ", ".join(str(row[0]) for row in rows)
        return CheckOutcome(
            False,
            f"{counted(repeated, 'row repeats', 'rows repeat')} an id: {listed}.",
            counts=counts,
            head=("id", "rows"),
            failed_rows=rows,
        )
    if twice:
        listed = ", ".join(map(str, twice[:MAX_FAILED_ROWS]))
        return CheckOutcome(
            False,
            f"The last listing had {counted(len(twice), 'id')} more than once: {listed}. The table has each once.",
            counts=counts,
            head=("id",),
            failed_rows=[(one,) for one in twice[:MAX_FAILED_ROWS]],
        )
    moved = context.loads[0].moved_ids if context.loads else ()
    if moved:
        listed = ", ".join(map(str, moved[:MAX_FAILED_ROWS]))
        return CheckOutcome(
            False,
            f"{counted(len(moved), 'record')} changed while the listing was read, and came twice: {listed}. "
            "The table has the newest version.",
            "WARN",
            counts,
            ("id",),
            [(one,) for one in moved[:MAX_FAILED_ROWS]],
        )
    return CheckOutcome(True, "Every id is unique.", counts=counts)


def drift(context: CheckContext) -> CheckOutcome:
    """The CRM sends only declared fields, with the same JSON types as in the previous load."""
    if not context.loads:
        return CheckOutcome(True, "Nothing was loaded yet.", "WARN")
    now = context.loads[0].fields
    before = _comparable(context)
    declared = {column.field for column in context.resource.columns}
    found = [(name, "is not declared") for name in now if name not in declared]
    found += [(name, "is no longer sent") for name in before if name in declared and before[name] and not now.get(name)]
    found += [
        (name, f"was {' or '.join(before[name])}, is {' or '.join(now[name])}")
        for name in now
        if before.get(name) and now[name] and not set(now[name]) & set(before[name])
    ]
    counts = {"fields": len(now), "drifting_fields": len(found)}
    if not found:
        return CheckOutcome(True, "The CRM sends the declared fields with their usual types.", "WARN", counts)
    listed = "; ".join(f"{name} {what}" for name, what in found[:MAX_FAILED_ROWS])
    return CheckOutcome(False, f"{listed}.", "WARN", counts, ("field", "drift"), found[:MAX_FAILED_ROWS])


def _comparable(context: CheckContext) -> Mapping[str, Sequence[str]]:
    """Return the fields of the load before; none if it was so much larger that it may have had rarer fields."""
    if len(context.loads) < 2:
        return {}
    last, before = context.loads[:2]
    return before.fields if last.records >= before.records * (1 - context.settings.row_count_drop) else {}


def rejected(context: CheckContext) -> CheckOutcome:
    """No record of the last load was rejected."""
    if not context.loads:
        return CheckOutcome(True, "Nothing was loaded yet.", "WARN")
    last = context.loads[0]
    share = last.rejected / last.records if last.records else 0.0
    limit = context.settings.rejected_share
    counts = {"rejected": last.rejected, "records": last.records, "share": round(share, 4), "limit": limit}
    if not last.rejected:
        return CheckOutcome(True, "No record was rejected.", "WARN", counts)
    sql, why = context.probe.rejected(context.resource.name, last.load_id)
    listed = "; ".join(f"{row[0] or 'no id'}: {row[1]}" for row in why)
    return CheckOutcome(
        False,
        f"{last.rejected:,} of {counted(last.records, 'record')} rejected, see rejected_records: {listed}.",
        "ERROR" if share > limit else "WARN",
        counts,
        ("id", "reason"),
        why,
        sql,
    )


def row_count(context: CheckContext) -> CheckOutcome:
    """Neither the table nor the listing has lost many rows."""
    rows = context.stats.rows
    if context.loads and context.loads[0].deletes_blocked:
        return _deletes_blocked(context.resource.name, context.loads[0], rows)
    listed = context.loads[0].rows if context.loads else 0
    table_before = max((load.table_rows for load in context.loads), default=0)
    listed_before = max((load.rows for load in context.loads[1:]), default=0)
    limit = context.settings.row_count_drop
    counts = {
        "rows": rows,
        "most_rows_before": table_before,
        "listed": listed,
        "most_listed_before": listed_before,
        "limit": limit,
    }
    if not rows and table_before:
        return CheckOutcome(False, f"The table is empty; it had {counted(table_before, 'row')}.", "ERROR", counts)
    if rows < table_before * (1 - limit):
        return CheckOutcome(False, f"The table has {counted(rows, 'row')}; it had {table_before:,}.", "WARN", counts)
    if not listed and listed_before:
        return CheckOutcome(
            False, f"The last listing is empty; it had {counted(listed_before, 'record')}.", "ERROR", counts
        )
    if listed < listed_before * (1 - limit):
        return CheckOutcome(
            False, f"The last listing has {counted(listed, 'record')}; it had {listed_before:,}.", "WARN", counts
        )
    return CheckOutcome(True, f"{counted(rows, 'row')}, {listed:,} in the last listing.", "WARN", counts)


def _deletes_blocked(resource: str, last: Load, rows: int) -> CheckOutcome:
    why = "which is shorter than the CRM says" if last.short else "more than sync.delete_guard allows"
    return CheckOutcome(
        False,
        f"{last.gone:,} of {counted(last.rows_before, 'row')} not in the last listing, {why}: "
        f"nothing was deleted. If that is right, allow it once: crm-assets sync {resource} --allow-deletes",
        "ERROR",
        {"rows": rows, "gone": last.gone, "rows_before": last.rows_before},
    )


def complete(context: CheckContext) -> CheckOutcome:
    """All rows of the last load are in the table, and their number matches the CRM's own count."""
    if not context.loads:
        return CheckOutcome(True, "Nothing was loaded yet.")
    last, stats = context.loads[0], context.stats
    counts = {"records": last.records, "rows_of_last_load": stats.of_last_load, "rows_loaded": last.rows}
    if stats.of_last_load != last.rows:
        return CheckOutcome(
            False,
            f"The last load wrote {counted(last.rows, 'row')}; {stats.of_last_load:,} of them in the table.",
            counts=counts,
        )
    if stats.reported_count is not None and stats.reported_count != last.records:
        counts["reported_count"] = stats.reported_count
        return CheckOutcome(
            False,
            f"The CRM reports {counted(stats.reported_count, 'record')}; {last.records:,} fetched.",
            "WARN" if about_equal(stats.reported_count, last.records) else "ERROR",
            counts,
        )
    return CheckOutcome(True, f"The table has all of the last load: {counted(last.rows, 'row')}.", counts=counts)


def ranges(context: CheckContext) -> CheckOutcome:
    """All values are plausible."""
    broken = {condition: count for condition, count in context.stats.conditions.items() if count}
    counts = {"conditions": len(context.stats.conditions), "broken": sum(broken.values())}
    if not broken:
        return CheckOutcome(True, f"No row breaks any of {len(context.stats.conditions)} conditions.", "WARN", counts)
    failed_rows = [
        (condition.name, *row)
        for condition in broken
        for row in context.probe.breaking(context.resource.name, condition)
    ][:MAX_FAILED_ROWS]
    listed = "; ".join(f"{condition.name} in {counted(count, 'row')}" for condition, count in broken.items())
    ids = ", ".join(str(row[1]) for row in failed_rows)
    return CheckOutcome(False, f"{listed}; ids {ids}.", "WARN", counts, ("condition", "id", "value"), failed_rows)


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
    ids = ", ".join(dict.fromkeys(str(row[2]) for row in failed_rows))
    return CheckOutcome(False, f"{listed}: {ids}.", "WARN", counts, ("column", "id", "reference"), failed_rows)


CHECKS: Mapping[str, Check] = {
    "schema": schema,
    "nulls": nulls,
    "unique_id": unique_id,
    "drift": drift,
    "rejected": rejected,
    "row_count": row_count,
    "complete": complete,
    "ranges": ranges,
    "references": references,
}
"""Every check by its name, in the order in which a reader wants them."""


def checks_of(resource: Resource) -> list[str]:
    """Return the names of the checks that make sense for `resource`."""
    refers = any(column.reference for column in resource.columns)
    return [name for name in CHECKS if name != "references" or refers]


def evaluate_check(name: str, context: CheckContext) -> CheckOutcome:
    """Return the outcome of the check `name`, or a warning if the table does not exist."""
    if context.stats.exists or (name == "schema" and context.loads):
        outcome = CHECKS[name](context)
        return replace(outcome, sql=outcome.sql or _sql_of(name, context.stats))
    return CheckOutcome(False, f"There is no table {context.resource.name} yet: materialize {context.key}.", "WARN")


def _sql_of(name: str, stats: TableStats) -> str:
    match name:
        case "schema":
            return stats.columns_sql
        case "drift" | "rejected":
            return ""
        case _:
            return stats.sql

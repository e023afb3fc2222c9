"""The checks of one table: each looks at the evidence and says what it found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from crm_assets.load.deletes import about_equal
from crm_assets.models import MODELS
from crm_assets.models.columns import columns_of
from crm_assets.quality.loads import Load
from crm_assets.quality.table_probe import MOST_OFFENDERS, Eye, Look
from crm_assets.settings import CheckSettings

Severity = Literal["WARN", "ERROR"]


@dataclass(frozen=True)
class Evidence:
    """All that the checks of one table may look at. `loads` begins with the latest."""

    resource: str
    look: Look
    eye: Eye
    loads: Sequence[Load]
    settings: CheckSettings


@dataclass(frozen=True)
class Verdict:
    """What one check found. `offenders` is a table with a head, at most ten rows long."""

    passed: bool
    description: str
    severity: Severity = "ERROR"
    counts: Mapping[str, int | float] = field(default_factory=dict)
    head: Sequence[str] = ()
    offenders: Sequence[Sequence[Any]] = ()
    sql: str = ""
    """The query that found it; empty where the record of loads did."""


Check = Callable[[Evidence], Verdict]


def schema(evidence: Evidence) -> Verdict:
    """Every declared column is in the table, with its declared type."""
    wrong = evidence.look.wrong
    counts = {"declared_columns": len(columns_of(evidence.resource)), "wrong_columns": len(wrong)}
    if not wrong:
        return Verdict(True, f"All {counts['declared_columns']} declared columns are as declared.", counts=counts)
    listed = "; ".join(f"{name} {problem}" for name, problem in wrong.items())
    return Verdict(False, f"{listed}.", counts=counts, head=("column", "problem"), offenders=list(wrong.items()))


def nulls(evidence: Evidence) -> Verdict:
    """No column that must have a value holds NULL."""
    bad = {name: count for name, count in evidence.look.nulls.items() if count}
    if not bad:
        return Verdict(True, "No NULL where a value must be.", counts={"nulls": 0})
    listed = "; ".join(f"{name} is NULL in {count:,} rows" for name, count in bad.items())
    return Verdict(
        False, f"{listed}.", counts={"nulls": sum(bad.values())}, head=("column", "rows"), offenders=list(bad.items())
    )


def unique_id(evidence: Evidence) -> Verdict:
    """Every id stands in one row, and came once in the last listing."""
    repeated = evidence.look.repeated
    twice = list(evidence.loads[0].repeated_ids) if evidence.loads else []
    counts = {"repeated_rows": repeated, "repeated_in_listing": len(twice)}
    if repeated:
        rows = evidence.eye.repeated_ids(evidence.resource)
        listed = ", ".join(str(row[0]) for row in rows)
        return Verdict(
            False, f"{repeated:,} rows repeat an id: {listed}.", counts=counts, head=("id", "rows"), offenders=rows
        )
    if twice:
        listed = ", ".join(map(str, twice[:MOST_OFFENDERS]))
        return Verdict(
            False,
            f"The last listing had {len(twice):,} ids more than once: {listed}. The table has each once.",
            counts=counts,
            head=("id",),
            offenders=[(one,) for one in twice[:MOST_OFFENDERS]],
        )
    moved = evidence.loads[0].moved_ids if evidence.loads else ()
    if moved:
        listed = ", ".join(map(str, moved[:MOST_OFFENDERS]))
        return Verdict(
            False,
            f"{len(moved):,} records were changed while the listing was read, and came twice: {listed}. "
            "The table has the newest version of each.",
            "WARN",
            counts,
            ("id",),
            [(one,) for one in moved[:MOST_OFFENDERS]],
        )
    return Verdict(True, "Every id stands in one row.", counts=counts)


def drift(evidence: Evidence) -> Verdict:
    """The CRM sends the declared fields, no others, and with the JSON types of the load before."""
    if not evidence.loads:
        return Verdict(True, "Nothing was loaded yet.", "WARN")
    now = evidence.loads[0].fields
    before = _comparable(evidence)
    declared = set(MODELS[evidence.resource].model_fields)
    found = [(name, "is not declared") for name in now if name not in declared]
    found += [
        (name, "is not sent any more") for name in before if name in declared and before[name] and not now.get(name)
    ]
    found += [
        (name, f"was {' or '.join(before[name])}, is {' or '.join(now[name])}")
        for name in now
        if before.get(name) and now[name] and not set(now[name]) & set(before[name])
    ]
    counts = {"fields": len(now), "drifting_fields": len(found)}
    if not found:
        return Verdict(True, "The CRM sends the declared fields with their usual types.", "WARN", counts)
    listed = "; ".join(f"{name} {what}" for name, what in found[:MOST_OFFENDERS])
    return Verdict(False, f"{listed}.", "WARN", counts, ("field", "drift"), found[:MOST_OFFENDERS])


def _comparable(evidence: Evidence) -> Mapping[str, Sequence[str]]:
    """Return the fields of the load before; none if it was so much larger that it may have had rarer fields."""
    if len(evidence.loads) < 2:
        return {}
    last, before = evidence.loads[:2]
    return before.fields if last.records >= before.records * (1 - evidence.settings.row_count_drop) else {}


def rejected(evidence: Evidence) -> Verdict:
    """Every record of the last load could be a row."""
    if not evidence.loads:
        return Verdict(True, "Nothing was loaded yet.", "WARN")
    last = evidence.loads[0]
    share = last.rejected / last.records if last.records else 0.0
    limit = evidence.settings.rejected_share
    counts = {"rejected": last.rejected, "records": last.records, "share": round(share, 4), "limit": limit}
    if not last.rejected:
        return Verdict(True, "Every record could be a row.", "WARN", counts)
    sql, why = evidence.eye.rejected(evidence.resource, last.load_id)
    listed = "; ".join(f"{row[0] or 'no id'}: {row[1]}" for row in why)
    return Verdict(
        False,
        f"{last.rejected:,} of {last.records:,} records are in rejected_records: {listed}.",
        "ERROR" if share > limit else "WARN",
        counts,
        ("id", "reason"),
        why,
        sql,
    )


def row_count(evidence: Evidence) -> Verdict:
    """The table and the listing have about as many rows as before."""
    rows = evidence.look.rows
    if evidence.loads and evidence.loads[0].held_back:
        return _held_back(evidence.resource, evidence.loads[0], rows)
    listed = evidence.loads[0].rows if evidence.loads else 0
    table_before = max((load.table_rows for load in evidence.loads), default=0)
    listed_before = max((load.rows for load in evidence.loads[1:]), default=0)
    limit = evidence.settings.row_count_drop
    counts = {
        "rows": rows,
        "most_rows_before": table_before,
        "listed": listed,
        "most_listed_before": listed_before,
        "limit": limit,
    }
    if not rows and table_before:
        return Verdict(False, f"The table is empty; it had {table_before:,} rows.", "ERROR", counts)
    if rows < table_before * (1 - limit):
        return Verdict(False, f"The table has {rows:,} rows; it had {table_before:,}.", "WARN", counts)
    if not listed and listed_before:
        return Verdict(False, f"The last listing is empty; it had {listed_before:,} records.", "ERROR", counts)
    if listed < listed_before * (1 - limit):
        return Verdict(False, f"The last listing has {listed:,} records; it had {listed_before:,}.", "WARN", counts)
    return Verdict(True, f"{rows:,} rows, {listed:,} in the last listing.", "WARN", counts)


def _held_back(resource: str, last: Load, rows: int) -> Verdict:
    why = "and fewer records than the CRM says" if last.short else "more than sync.delete_guard allows"
    return Verdict(
        False,
        f"The last listing has not {last.gone:,} of the {last.rows_before:,} rows, {why}: "
        f"none was deleted. If that is right, allow it once: crm-assets sync {resource} --allow-deletes",
        "ERROR",
        {"rows": rows, "gone": last.gone, "rows_before": last.rows_before},
    )


def complete(evidence: Evidence) -> Verdict:
    """What the last load fetched is in the table, and it is what the CRM says it has."""
    if not evidence.loads:
        return Verdict(True, "Nothing was loaded yet.")
    last, look = evidence.loads[0], evidence.look
    counts = {"records": last.records, "rows_of_last_load": look.of_last_load, "rows_loaded": last.rows}
    if look.of_last_load != last.rows:
        return Verdict(
            False,
            f"The last load brought {last.rows:,} rows; {look.of_last_load:,} of them are in the table.",
            counts=counts,
        )
    if look.offered is not None and look.offered != last.records:
        counts["offered"] = look.offered
        return Verdict(
            False,
            f"The CRM says that it has {look.offered:,} records; {last.records:,} were fetched.",
            "WARN" if about_equal(look.offered, last.records) else "ERROR",
            counts,
        )
    return Verdict(True, f"All {last.rows:,} rows of the last load are in the table.", counts=counts)


def ranges(evidence: Evidence) -> Verdict:
    """No value is one that cannot be."""
    broken = {condition: count for condition, count in evidence.look.conditions.items() if count}
    counts = {"conditions": len(evidence.look.conditions), "broken": sum(broken.values())}
    if not broken:
        return Verdict(True, f"No row breaks any of {len(evidence.look.conditions)} conditions.", "WARN", counts)
    offenders = [
        (condition.name, *row) for condition in broken for row in evidence.eye.breaking(evidence.resource, condition)
    ][:MOST_OFFENDERS]
    listed = "; ".join(f"{condition.name} in {count:,} rows" for condition, count in broken.items())
    ids = ", ".join(str(row[1]) for row in offenders)
    return Verdict(False, f"{listed}; ids {ids}.", "WARN", counts, ("condition", "id", "value"), offenders)


def references(evidence: Evidence) -> Verdict:
    """Ids that refer to another table are there."""
    limit = evidence.settings.dangling_share
    found = evidence.look.references
    if not found:
        return Verdict(True, "The table that it refers to is not there yet.", "WARN")
    counts = {name: lost for name, (_, lost) in found.items()}
    bad = {name: lost for name, (total, lost) in found.items() if total and lost / total > limit}
    if not bad:
        return Verdict(True, f"At most {limit:.0%} of the references lead nowhere.", "WARN", counts)
    offenders = [(name, *row) for name in bad for row in evidence.eye.lost(evidence.resource, name)][:MOST_OFFENDERS]
    listed = "; ".join(f"{lost:,} of {found[name][0]:,} in {name} lead nowhere" for name, lost in bad.items())
    ids = ", ".join(dict.fromkeys(str(row[2]) for row in offenders))
    return Verdict(False, f"{listed}: {ids}.", "WARN", counts, ("column", "id", "reference"), offenders)


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


def checks_of(resource: str) -> list[str]:
    """Return the names of the checks that make sense for `resource`."""
    refers = any(column.reference for column in columns_of(resource))
    return [name for name in CHECKS if name != "references" or refers]


def judge(name: str, evidence: Evidence) -> Verdict:
    """Return the verdict of the check `name`; on a table that is not there, that it is not."""
    if evidence.look.exists or (name == "schema" and evidence.loads):
        verdict = CHECKS[name](evidence)
        return replace(verdict, sql=verdict.sql or _sql_of(name, evidence.look))
    return Verdict(False, f"There is no table {evidence.resource} yet: materialize crm/{evidence.resource}.", "WARN")


def _sql_of(name: str, look: Look) -> str:
    match name:
        case "schema":
            return look.columns_sql
        case "drift" | "rejected":
            return ""
        case _:
            return look.sql

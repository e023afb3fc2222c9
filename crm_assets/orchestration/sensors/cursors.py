"""What a sensor remembers from tick to tick."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

Memory = TypeVar("Memory", bound=BaseModel)


def parse_cursor(kind: type[Memory], cursor: str | None) -> Memory | None:
    """Return what stands in `cursor`; None for nothing, also if an earlier version of the project wrote it."""
    try:
        return kind.model_validate_json(cursor) if cursor else None
    except ValidationError:
        return None

"""What the low-code source needs in Python."""

from dataclasses import dataclass
from typing import Any

from airbyte_cdk.sources.declarative.transformations import RecordTransformation


@dataclass
class EmptyIsNull(RecordTransformation):
    """An empty text, which now and then stands for no number, becomes null.

    Attributes:
        fields: the fields of numbers.
    """

    fields: list[str]

    def transform(self, record: dict[str, Any], **_: Any) -> None:
        """Change the record."""
        for field in self.fields:
            if record.get(field) == "":
                record[field] = None

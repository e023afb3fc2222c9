"""The kinds of faults, apart from what makes them: the help of the command line lists them."""

from typing import Final

KINDS: Final = {
    "status": "another status, with an HTML page; also written as the number, 503",
    "error_envelope": 'status 200 with {"error": "..."}',
    "html": "status 200 with an HTML page",
    "half_json": "status 200 with half a JSON document",
    "cut_off": "half of the promised bytes, then the end of the connection",
    "reset": "a reset connection instead of an answer",
    "hang": "no answer until the fault is cleared or the sandbox stops; agilecrm hangs up after 60 s",
    "drip": "the right answer, one byte at a time",
    "null_data": "status 200 with null instead of the list",
    "repeat_cursor": "the right records, with a cursor that leads back to the first page",
    "extra_cursor": "the right records, with a cursor on the last one",
    "redirect": "status 302 to `location`",
}
"""Every kind of fault, and what the client sees."""

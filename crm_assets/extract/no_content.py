"""HTTP 204 with a body: some servers send one, although the status says that there is none."""

from http import HTTPStatus
from http.client import HTTPResponse


class ReadingResponse(HTTPResponse):
    """A response that is read as a 200 when its status is 204 and it has a body after all.

    `http.client` leaves such a body on the connection, where it is then taken for the next response.
    """

    def begin(self) -> None:
        """Read the head of the response."""
        super().begin()
        if self.status != HTTPStatus.NO_CONTENT:
            return
        length = self._length_of_body()
        if length != 0:
            self.status = self.code = HTTPStatus.OK
            self.reason = HTTPStatus.OK.phrase
            self.length = length

    def _length_of_body(self) -> int | None:
        """Return what the head says; None if it comes in chunks, and there is one."""
        if self.chunked:
            self.read1(0)  # reads how long the first chunk is, and is at the end if that is the last one
            return 0 if self.isclosed() else None
        length = self.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else 0

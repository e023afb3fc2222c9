"""The wire alone: every page is read and forgotten, with a thread and one connection for each resource."""

import http.client
import json
import os
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

LOGIN = b64encode(f"{os.environ['BENCH_EMAIL']}:{os.environ['BENCH_API_KEY']}".encode()).decode()
CURSOR = b'"cursor":"'


def read(path: str) -> None:
    address = urlsplit(os.environ["BENCH_URL"])
    connection = http.client.HTTPConnection(str(address.hostname), address.port or 80)
    cursor = ""
    while True:
        connection.request("GET", f"{path}?limit=100{cursor}", headers={"Authorization": f"Basic {LOGIN}"})
        page = connection.getresponse().read()
        start = page.rfind(CURSOR) + len(CURSOR)  # of the last record, behind all others
        following = page[start : page.index(b'"', start)].decode() if start >= len(CURSOR) else ""
        if not following:
            break
        cursor = f"&cursor={following}"
    connection.close()


def main() -> None:
    api = json.loads(Path(os.environ["BENCH_API"]).read_bytes())
    with ThreadPoolExecutor(len(api)) as threads:
        list(threads.map(read, [resource["path"] for resource in api.values()]))


if __name__ == "__main__":
    main()

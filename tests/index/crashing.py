"""Upload files, each in a process of its own that dies by SIGKILL at one line of pinwheel's code. Run as a script.

One JSON document a line comes in: the data folder, the upload's body, and when to die: at which line, counted as each
is run for the first time, or at the first line of which function. One goes out: the functions whose lines were run,
one for each line, and the status, when it came to that.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from tests.index.running import Reply, call

import pinwheel.index.web.app
import pinwheel.index.web.engine  # noqa: F401
from pinwheel.index.server.assembly import Setup, application

OURS = f"{os.sep}pinwheel{os.sep}"


class Lines:
    """The lines that are run while it is set as trace function, each once; at the one named by `last`, the process is
    killed."""

    def __init__(self, last: int | str | None) -> None:
        self.functions: list[str] = []
        self._seen: set[tuple[str, int]] = set()
        self._last = last

    def __call__(self, frame: FrameType, event: str, _argument: object) -> Any:
        if OURS not in frame.f_code.co_filename:
            return None
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and place not in self._seen:
            self._seen.add(place)
            function = f"{frame.f_globals['__name__'].rpartition('.')[2]}.{frame.f_code.co_name}"
            if self._last in (len(self.functions), function):
                os.kill(os.getpid(), signal.SIGKILL)
            self.functions.append(function)
        return self


def uploaded(folder: str, token: str, content_type: str, body: bytes, last: int | str | None) -> dict[str, object]:
    app = application(Setup(Path(folder)))
    lines = Lines(last)
    sys.settrace(lines)
    try:
        reply: Reply = call(app, "POST", "/", token, body=body, headers={"Content-Type": content_type})
    finally:
        sys.settrace(None)
    return {"functions": lines.functions, "status": reply.status}


def main() -> None:
    for line in sys.stdin:
        wanted = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            with os.fdopen(writing, "w") as out:
                body = Path(wanted["body"]).read_bytes()
                said = uploaded(wanted["folder"], wanted["token"], wanted["content_type"], body, wanted["last"])
                out.write(json.dumps(said))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as heard:
            text = heard.read()
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(text if not killed else json.dumps({"functions": [], "status": None}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

"""Run a command and tell what it took: python -I -S measured.py FILE COMMAND…, which writes JSON to FILE.

A process of its own, because the peak memory of a process is never less than that of the one that started it.
"""

import json
import os
import sys
import time

began = time.monotonic()
child = os.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is wanted
_, status, usage = os.wait4(child, 0)
took = {
    "wall_s": time.monotonic() - began,
    "cpu_s": usage.ru_utime + usage.ru_stime,
    "peak_mib": usage.ru_maxrss / 1024,
}
with open(sys.argv[1], "w") as file:  # noqa: PTH123 - as little as possible is imported
    json.dump(took, file)
sys.exit(os.waitstatus_to_exitcode(status))

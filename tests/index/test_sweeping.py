"""A sweep removes what the dead left, and nothing that anybody is writing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.index.making import new_file, wheel
from tests.index.running import environment

from pinwheel.index.server.assembly import Stored
from pinwheel.index.store.disk import scratch_file, scratch_folder, sweep_scratch
from pinwheel.index.store.storing import recording
from pinwheel.index.upkeep.sweeping import sweep

DIES = """
import os, signal, sys
from pathlib import Path
from pinwheel.index.store.disk import scratch_file, scratch_folder
with scratch_file(Path(sys.argv[1]), "upload") as file, scratch_folder(Path(sys.argv[1]), "import") as folder:
    file.write(b"half")
    (folder / "half").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftovers_are_swept_and_what_is_needed_is_kept(index: Stored) -> None:
    (index.temporary / "upload-1").write_bytes(b"half")
    index.blobs.put(b"orphan", "0" * 64)
    assert (sweep(index.records, index.blobs, index.temporary).temporary, list(index.blobs.every())) == (1, [])


def test_temporary_files_of_who_was_killed_are_swept(tmp_path: Path) -> None:
    subprocess.run((sys.executable, "-P", "-c", DIES, str(tmp_path)), env=environment(), timeout=60, check=False)
    assert len(list(tmp_path.iterdir())) == 2
    assert sweep_scratch(tmp_path) == 2
    assert list(tmp_path.iterdir()) == []


def test_temporary_files_of_the_living_stay(tmp_path: Path) -> None:
    with scratch_file(tmp_path, "upload") as file, scratch_folder(tmp_path, "import") as folder:
        (folder / "copy").write_bytes(b"whole")
        assert sweep_scratch(tmp_path) == 0
        assert Path(str(file.name)).exists()
        assert (folder / "copy").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_blob_that_was_recorded_since_the_sweep_looked_stays(index: Stored) -> None:
    """An import runs beside a server that starts and sweeps."""
    made = wheel("acme")

    class LookedEarly:
        """Records as a sweep sees them that asked before somebody else committed."""

        def blobs(self) -> set[str]:
            with recording(index.records, index.blobs, made.sha256):
                index.blobs.put(made.content, made.sha256)
                index.records.publish(new_file(made))
            return set()

        def needs(self, sha256: str) -> bool:
            return index.records.needs(sha256)

    sweep(LookedEarly(), index.blobs, index.temporary)
    assert list(index.blobs.every()) == [made.sha256]

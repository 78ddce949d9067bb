"""Uploads to the index by twine: the one place where pinwheel uses it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import ssl
import threading
from pathlib import Path

from pinwheel.index.client import IndexUnreachable
from pinwheel.packaging.publishing.publish import Answer, Upload, UploadRefused

TRIES = 5  # when the index is busy for a moment
BUSY = 503
OUTCOME_HEADER = "Pinwheel-Outcome"
"""By which the index tells that it answers 200 because it had the same file before."""

_one_at_a_time = threading.Lock()
"""The process has one stdout: of two threads that redirect it, one would leave it redirected."""


def twine_to(url: str, token: str, ca_file: str = "") -> Upload:
    """An upload to the index at `url` by twine. The token goes from memory into the request, through no command
    line, variable or file."""

    def upload(path: Path) -> Answer:
        import requests
        from twine.exceptions import TwineException
        from twine.package import PackageFile
        from twine.settings import Settings

        # it prints its tries to stderr; what came of them is ours to tell
        logging.getLogger("twine").setLevel(logging.CRITICAL)
        # requests' own list of authorities knows no private one; the system's may
        system = ssl.get_default_verify_paths()
        # an empty username would make twine look into keyrings and configuration files
        settings = Settings(
            repository_url=url,
            username="__token__",
            password=token or "anonymous",
            non_interactive=True,
            disable_progress_bar=True,
            cacert=ca_file or system.cafile or system.capath,
        )
        # twine prints to stdout, where our data goes
        quiet = contextlib.redirect_stdout(io.StringIO())
        with _one_at_a_time, quiet, contextlib.closing(settings.create_repository()) as repository:
            try:
                package = PackageFile.from_filename(str(path), None)
                for _ in range(TRIES):
                    # once: twine would try again also when the index's disk is full
                    answer = repository.upload(package, max_redirects=1)
                    if answer.status_code != BUSY:
                        break
            except requests.RequestException as error:
                raise IndexUnreachable(
                    f"the index does not answer: {type(error).__name__}",
                    where=url,
                    remedy="is it running? `pinwheel index.serve` starts one",
                ) from error
            except TwineException as error:
                raise UploadRefused(
                    f"twine cannot read {path.name}: {error}", where=str(path), remedy="build it again"
                ) from error
        return Answer(answer.status_code, _reason(answer.text), answer.headers.get(OUTCOME_HEADER) == "already there")

    return upload


def _reason(text: str) -> str:
    """The reason in an answer: an index says it in JSON or as plain text."""
    try:
        document = json.loads(text)
    except ValueError:
        return text.strip()
    return str(document["error"]) if isinstance(document, dict) and "error" in document else text.strip()

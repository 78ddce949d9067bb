"""What PyPI's renderer makes of a README: the one place where pinwheel uses it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from email.message import EmailMessage

from pinwheel.archive import Distribution
from pinwheel.packaging.inspection.findings import Finding


def findings(archive: Distribution) -> Iterable[Finding]:
    """A warning for a README that cannot be rendered, as `twine check` has. None at all is no fault: a private package
    is read about elsewhere."""
    text = (archive.metadata.description or "").strip()
    if not text or text == "UNKNOWN" or _content_type(archive) != "text/x-rst":
        return  # plain text and Markdown can always be rendered
    from readme_renderer import rst

    said = io.StringIO()
    if rst.render(text, said) is None:
        reason = said.getvalue().strip().splitlines()[0].removeprefix("<string>:")
        yield Finding(
            "warning",
            "readme",
            archive.filename,
            f"has a README that cannot be rendered: line {reason}",
            "correct the README, or say its real type in pyproject.toml: readme = {file = …, content-type = …}",
        )


def _content_type(archive: Distribution) -> str:
    message = EmailMessage()
    # without one it is reStructuredText, as the specification of core metadata says
    message["Content-Type"] = archive.metadata.description_content_type or "text/x-rst"
    return message.get_content_type()

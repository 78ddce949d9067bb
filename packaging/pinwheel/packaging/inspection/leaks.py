"""The shapes of secrets, and where a file has them. No I/O here.

A secret itself is never told, only its kind and its lines. Every shape is bounded in length and begins at a literal, so
that the time of a search is bounded by the size of what is searched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pinwheel.packaging.inspection.findings import Severity

FEWEST_LETTERS = 10
"""A token of fewer different letters is a placeholder, as in `ghp_xxxxxxxx…`."""

MOST_LINES = 5

PLACEHOLDERS = frozenset(
    b"password passwd pass passw0rd secret pwd token changeme hunter2 tiger user username foobar example".split()
)
NOBODYS_HOSTS = re.compile(
    rb"(?:localhost|127\.0\.0\.1|(?:.*\.)?(?:example|test|invalid|localhost)|(?:.*\.)?example\.(?:com|org|net)"
    rb"|host(?:name)?|server|domain(?:\.\w+)?)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of secret. Every match of `shape` has one of `hints` in it, which are much faster to look for."""

    name: str
    hints: tuple[bytes, ...]
    shape: re.Pattern[bytes]
    severity: Severity = "error"


@dataclass(frozen=True, slots=True)
class Leak:
    """A kind of secret that a file has, and the first few lines (from 1) where it begins."""

    kind: str
    severity: Severity
    lines: tuple[int, ...]


def _token(name: str, hints: bytes, rest: bytes, severity: Severity = "error") -> Kind:
    """A token that begins with one of `hints` (separated by blanks) and goes on as `rest` says."""
    prefixes = tuple(hints.split())
    begins = b"|".join(re.escape(each) for each in prefixes)
    shape = re.compile(rb"(?<![A-Za-z0-9_])(?:" + begins + rb")" + rest + rb"(?![A-Za-z0-9_])")
    return Kind(name, prefixes, shape, severity)


# a marker alone is in many a program that reads keys; only with what follows it is it a key
_PEM = rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----END)[\s\S]){0,300}?[A-Za-z0-9+/]{40}"
_PASSWORD = rb"[^\s:/@?#\"'<>\\`(){}\[\]|,;&*]"

KINDS = (
    Kind("a private key", (b"PRIVATE KEY",), re.compile(_PEM)),
    Kind(
        "a private key of PuTTY",
        (b"PuTTY-User-Key-File-",),
        re.compile(rb"PuTTY-User-Key-File-[0-9]: [a-z0-9-]{4,40}\r?\n[^\0]{0,4096}?Private-Lines: [0-9]"),
    ),
    _token("an age key", b"AGE-SECRET-KEY-1", rb"[A-Z0-9]{58}"),
    _token("a token of a pinwheel index", b"pw_", rb"[A-Za-z0-9_-]{43}"),
    _token("an AWS access key", b"AKIA ASIA", rb"[A-Z2-7]{16}(?<!EXAMPLE)"),
    Kind(
        "an AWS secret key",
        (b"aws_secret_access_key", b"AWS_SECRET_ACCESS_KEY", b"SecretAccessKey"),
        re.compile(
            rb"(?:aws_secret_access_key|AWS_SECRET_ACCESS_KEY|SecretAccessKey)[\"']?\s{0,8}[=:]{1,2}\s{0,8}[\"']?"
            rb"[A-Za-z0-9/+]{40}(?<!EXAMPLEKEY)(?![A-Za-z0-9/+=])"
        ),
    ),
    _token("a GitHub token", b"ghp_ gho_ ghu_ ghs_ ghr_", rb"[A-Za-z0-9]{36,251}"),
    _token("a GitHub token", b"github_pat_", rb"[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    _token(
        "a GitLab token", b"glpat- gldt- glrt- glcbt- glptt- glft- glimt- glagent- gloas-", rb"[A-Za-z0-9_.-]{20,255}"
    ),
    _token("a PyPI token", b"pypi-AgEIcHlwaS5vcmc pypi-AgENdGVzdC5weXBpLm9yZw", rb"[A-Za-z0-9_-]{50,1000}"),
    _token("an npm token", b"npm_", rb"[A-Za-z0-9]{36}"),
    _token("a Docker Hub token", b"dckr_pat_", rb"[A-Za-z0-9_-]{27}"),
    _token("a Slack token", b"xoxa- xoxb- xoxp- xoxr- xoxs- xoxe- xapp-", rb"[A-Za-z0-9-]{20,255}"),
    Kind(
        "a Slack webhook",
        (b"hooks.slack.com/",),
        re.compile(
            rb"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9]{8,20}/(?P<secret>[A-Za-z0-9/]{20,80})"
        ),
    ),
    _token("a Stripe key", b"sk_live_ rk_live_ whsec_", rb"[A-Za-z0-9]{24,247}"),
    _token("a Google API key", b"AIza", rb"[A-Za-z0-9_-]{35}"),
    _token("a Google client secret", b"GOCSPX-", rb"[A-Za-z0-9_-]{28}"),
    Kind(
        "an Azure storage key",
        (b"AccountKey=",),
        re.compile(rb"AccountKey=[A-Za-z0-9+/]{86}=="),
    ),
    _token("a DigitalOcean token", b"dop_v1_ doo_v1_ dor_v1_", rb"[a-f0-9]{64}"),
    _token("a Vault token", b"hvs. hvb. hvr.", rb"[A-Za-z0-9_-]{24,300}"),
    _token("a SendGrid key", b"SG.", rb"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    _token("a Hugging Face token", b"hf_", rb"[A-Za-z]{34}"),
    _token("an Anthropic key", b"sk-ant-", rb"[A-Za-z0-9_-]{80,200}"),
    _token("an OpenAI key", b"sk-proj- sk-svcacct-", rb"[A-Za-z0-9_-]{40,300}"),
    # most of those in a repository are a test's, and long expired
    _token(
        "a JSON web token",
        b"eyJ",
        rb"[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,1000}",
        "warning",
    ),
    Kind(
        "a password in an address",
        (b"://",),
        re.compile(
            rb"://(?P<user>"
            + _PASSWORD
            + rb"{0,64}):(?P<password>(?!\$)"
            + _PASSWORD
            + rb"{4,128})@(?P<host>[A-Za-z0-9.-]{1,253})"
        ),
    ),
)


def search(body: bytes) -> tuple[Leak, ...]:
    """Every kind of secret in `body`, with its lines; () when there is none."""
    found: dict[str, Leak] = {}
    for kind in KINDS:
        if not any(hint in body for hint in kind.hints):
            continue
        starts = [match.start() for match in kind.shape.finditer(body) if not _is_placeholder(match)]
        if starts:
            lines = tuple(dict.fromkeys(body.count(b"\n", 0, start) + 1 for start in starts[:MOST_LINES]))
            found[kind.name] = Leak(kind.name, kind.severity, lines)
    return tuple(found.values())


def _is_placeholder(match: re.Match[bytes]) -> bool:
    """Whether what matched is in everybody's documentation, and so opens no door."""
    about = match.groupdict()
    if "password" not in about:
        return len(set(about.get("secret") or match.group())) < FEWEST_LETTERS
    password = about["password"].lower()
    return (
        password in PLACEHOLDERS
        or password == about["user"].lower()
        or len(set(password)) < 3
        or NOBODYS_HOSTS.match(about["host"]) is not None
    )

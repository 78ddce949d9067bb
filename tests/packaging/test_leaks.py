"""Every kind of secret by one that is found and one that is not. No real-looking secret stands in this file: each is
put together while the test runs."""

from __future__ import annotations

import hashlib
import string

import pytest

from pinwheel.packaging.inspection import leaks

WORD = string.ascii_letters + string.digits


def letters(count: int, alphabet: str = WORD) -> str:
    """So many letters without a meaning, the same in every run."""
    drawn = (hashlib.sha256(str(number).encode()).digest()[0] for number in range(count))
    return "".join(alphabet[each % len(alphabet)] for each in drawn)


def pem(kind: str, body: str, headers: str = "") -> str:
    name = f"{kind} PRIVATE " + "KEY"
    return f"-----BEGIN {name}-----\n{headers}{body}\n-----END {name}-----\n"


BODY = "\n".join(letters(64) for _ in range(3))
ENCRYPTED = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789ABCDEF\n\n"
PUTTY = "PuTTY-User-Key-" + "File-3: ssh-ed25519\nEncryption: none\nComment: me\nPublic-Lines: 1\nAAAA\n"
UPPER = string.ascii_uppercase + "234567"
HEX = "0123456789abcdef"

SECRETS = [
    ("a private key", pem("RSA", BODY)),
    ("a private key", pem("OPENSSH", BODY)),
    ("a private key", pem("EC", BODY, ENCRYPTED)),
    ("a private key", pem("", BODY).replace("N  P", "N P")),
    ("a private key", '{"private_key": "' + pem("", BODY).replace("N  P", "N P").replace("\n", "\\n") + '"}'),
    ("a private key", pem("PGP", BODY, "\n").replace("KEY-", "KEY BLOCK-")),
    ("a private key of PuTTY", PUTTY + "Private-Lines: 1\n" + letters(44)),
    ("an age key", "AGE-SECRET-KEY-" + "1" + letters(58, UPPER)),
    ("a token of a pinwheel index", "PINWHEEL_TOKEN=pw" + "_" + letters(43)),
    ("an AWS access key", "AKI" + "A" + letters(16, UPPER)),
    ("an AWS access key", "ASI" + "A" + letters(16, UPPER)),
    ("an AWS secret key", "aws_secret_access" + '_key = "' + letters(40) + '"'),
    ("an AWS secret key", '"SecretAccess' + 'Key": "' + letters(40) + '"'),
    *(("a GitHub token", f"gh{kind}" + "_" + letters(36)) for kind in "pousr"),
    ("a GitHub token", "github_" + "pat_" + letters(22) + "_" + letters(59)),
    *(("a GitLab token", f"gl{kind}" + "-" + letters(20)) for kind in ("pat", "dt", "rt", "cbt", "ptt", "ft")),
    ("a PyPI token", "pypi-" + "AgEIcHlwaS5vcmc" + letters(120)),
    ("a PyPI token", "pypi-" + "AgENdGVzdC5weXBpLm9yZw" + letters(120)),
    ("an npm token", "npm" + "_" + letters(36)),
    ("a Docker Hub token", "dckr_" + "pat_" + letters(27)),
    *(("a Slack token", f"xox{kind}" + "-" + letters(40)) for kind in "abprs"),
    (
        "a Slack webhook",
        "https://hooks." + "slack.com/services/T0" + letters(8) + "/B0" + letters(8) + "/" + letters(24),
    ),
    ("a Stripe key", "sk_" + "live_" + letters(24)),
    ("a Stripe key", "rk_" + "live_" + letters(99)),
    ("a Google API key", "AI" + "za" + letters(35)),
    ("a Google client secret", "GOC" + "SPX-" + letters(28)),
    ("an Azure storage key", "Account" + "Key=" + letters(86) + "=="),
    ("a DigitalOcean token", "dop_" + "v1_" + letters(64, HEX)),
    ("a Vault token", "hv" + "s." + letters(90)),
    ("a SendGrid key", "SG" + "." + letters(22) + "." + letters(43)),
    ("a Hugging Face token", "hf" + "_" + letters(34, string.ascii_letters)),
    ("an Anthropic key", "sk-" + "ant-" + letters(95)),
    ("an OpenAI key", "sk-" + "proj-" + letters(120)),
    ("a JSON web token", "ey" + "J" + letters(30) + ".ey" + "J" + letters(60) + "." + letters(43)),
    ("a password in an address", "postgresql://shop:" + "S3cr%40t-x@db.acme-corp.net/shop"),
    ("a password in an address", "https://:" + "qW8zLk2p" + "@pypi.acme-corp.net/simple/"),
]

HARMLESS = [
    ("a private key", "-----BEGIN PRIVATE " + "KEY-----"),
    ("a private key", pem("RSA", "...")),
    ("a private key", f"if line == '{pem('RSA', '')}': sha256 = '{letters(64, HEX)}'"),
    ("a private key", "-----BEGIN CERTIFICATE-----\n" + BODY),
    ("a private key of PuTTY", 'text.startswith("PuTTY-User-Key-' + 'File-2: ")'),
    ("an age key", "AGE-SECRET-KEY-" + "1..."),
    ("a token of a pinwheel index", "pw" + "_" + "x" * 43),
    ("a token of a pinwheel index", "pw" + "_" + letters(20)),
    ("a token of a pinwheel index", "upw" + "_" + letters(43)),
    ("an AWS access key", "AKIAIOSFODNN7" + "EXAMPLE"),
    ("an AWS access key", "AKI" + "A" + letters(30, UPPER)),
    ("an AWS secret key", "aws_secret_access" + "_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY"),
    ("an AWS secret key", "aws_secret_access" + "_key = os.environ['AWS_SECRET']"),
    ("a GitHub token", "ghp" + "_" + "x" * 36),
    ("a GitHub token", "ghp" + "_" + letters(12)),
    ("a GitLab token", "glpat" + "-" + "x" * 20),
    ("a PyPI token", "pypi-" + "AgEIcHlwaS5vcmc..."),
    ("an npm token", "npm" + "_config_registry"),
    ("a Docker Hub token", "dckr_" + "pat_..."),
    ("a Slack token", "xoxb" + "-your-token"),
    ("a Slack webhook", "https://hooks." + "slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"),
    ("a Stripe key", "sk_" + "test_" + letters(24)),
    ("a Google API key", "AI" + "za" + letters(12)),
    ("a Google client secret", "GOC" + "SPX-..."),
    ("an Azure storage key", "Account" + "Key={key};"),
    ("a DigitalOcean token", "dop_" + "v1_..."),
    ("a Vault token", "hv" + "s.token"),
    ("a SendGrid key", "SG" + ".model.save()"),
    ("a Hugging Face token", "hf" + "_hub_download"),
    ("an Anthropic key", "sk-" + "ant-..."),
    ("an OpenAI key", "sk-" + "proj-..."),
    ("a JSON web token", "ey" + "J" + letters(30)),
    ("a password in an address", "https://user:" + "password@host.acme-corp.net/"),
    ("a password in an address", "postgresql://scott:" + "tiger@db.acme-corp.net/"),
    ("a password in an address", "https://ada:" + "kx82hHs7@pypi.example.com/"),
    ("a password in an address", "redis://me:" + "kx82hHs7@localhost:6379/"),
    ("a password in an address", "https://{user}:" + "{password}@db.acme-corp.net"),
    ("a password in an address", "https://$USER:" + "$PASSWORD@db.acme-corp.net"),
    ("a password in an address", "https://db.acme-corp.net:8443/@scope/name"),
    ("a password in an address", "ssh://git@git.acme-corp.net:22/a.git"),
]


@pytest.mark.parametrize(("kind", "text"), SECRETS)
def test_a_secret_is_found(kind: str, text: str) -> None:
    (found,) = leaks.search(f"first line\nit = '{text}'\n".encode())
    assert (found.kind, found.lines) == (kind, (2,))


@pytest.mark.parametrize(("kind", "text"), HARMLESS)
def test_what_only_looks_like_one_is_not(kind: str, text: str) -> None:
    assert leaks.search(f"first line\nit = '{text}'\n".encode()) == ()


def test_every_kind_has_one_of_both() -> None:
    kinds = {each.name for each in leaks.KINDS}
    assert kinds == {kind for kind, _text in SECRETS} == {kind for kind, _text in HARMLESS}


def test_the_first_few_lines_of_each_kind_are_told() -> None:
    token = ("ghp" + "_" + letters(36) + "\n").encode()
    (found,) = leaks.search(token * 20)
    assert found.lines == (1, 2, 3, 4, 5)


def test_only_a_json_web_token_is_a_warning() -> None:
    assert [each.name for each in leaks.KINDS if each.severity == "warning"] == ["a JSON web token"]


@pytest.mark.parametrize("kind", leaks.KINDS, ids=lambda kind: kind.name)
def test_no_file_takes_long(kind: leaks.Kind) -> None:
    """Half a MiB that begins like a secret everywhere: a shape that goes back and forth would take hours."""
    for hint in kind.hints:
        for filling in (b"", b"A", b"a", b"1:", b"Aa0-", b"-----BEGIN "):
            piece = hint + filling
            leaks.search(piece * (64 * 1024 // len(piece)))
        leaks.search(hint + b"A" * (512 * 1024))
        leaks.search((b"-----BEGIN " + hint + b"-----\n" + b"a b " * 20) * 500)

"""A zoo of tiny distributions, each named for what is odd about it: legal ones, and ones that nobody could install."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from dataclasses import dataclass, replace

VERSIONS = ("2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.13")


@dataclass(frozen=True)
class Beast:
    """A distribution and why it must be refused; empty for one that is legal. `project` and `version` are canonical."""

    name: str
    filename: str
    content: bytes
    why: str = ""
    project: str = "acme-greet"
    version: str = "1.0"

    def __str__(self) -> str:
        return self.name


def document(
    *lines: str, metadata: str = "2.4", name: str = "acme-greet", version: str = "1.0", text: str = ""
) -> bytes:
    head = (f"Metadata-Version: {metadata}", f"Name: {name}", f"Version: {version}", *lines)
    return ("\n".join(each for each in head if not each.endswith(": ")) + f"\n\n{text}").encode()


def wheel(
    name: str,
    metadata: bytes = b"",
    *,
    filename: str = "acme_greet-1.0-py3-none-any.whl",
    info: str = "acme_greet-1.0.dist-info",
    more: dict[str, bytes] | None = None,
    left_out: str = "",
    compression: int = zipfile.ZIP_DEFLATED,
) -> Beast:
    out = io.BytesIO()
    usual = {
        "acme_greet/__init__.py": b"",
        f"{info}/METADATA": metadata or document(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(out, "w", compression) as file:
        for path, body in (usual | (more or {})).items():
            if not path.endswith(f"/{left_out}"):
                file.writestr(path, body)
    return Beast(name, filename, out.getvalue())


def sdist(
    name: str,
    metadata: bytes = b"",
    *,
    filename: str = "acme_greet-1.0.tar.gz",
    top: str = "acme_greet-1.0",
    more: dict[str, bytes] | None = None,
    form: int = tarfile.PAX_FORMAT,
    left_out: str = "",
) -> Beast:
    out = io.BytesIO()
    members = {f"{top}/PKG-INFO": metadata or document(), f"{top}/pyproject.toml": b""} | (more or {})
    with tarfile.open(fileobj=out, mode="w", format=form) as file:
        for path, body in members.items():
            if not path.endswith(f"/{left_out}"):
                info = tarfile.TarInfo(path)
                info.size = len(body)
                file.addfile(info, io.BytesIO(body))
    return Beast(name, filename, gzip.compress(out.getvalue(), 1, mtime=0))


def streamed_wheel() -> Beast:
    """Written to a pipe: sizes follow the data."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.got = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.got += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as file:
        for path, body in (("METADATA", document()), ("WHEEL", b""), ("RECORD", b"")):
            with file.open(f"acme_greet-1.0.dist-info/{path}", "w", force_zip64=True) as member:
                member.write(body)
    return Beast("wheel written to a pipe, with zip64 sizes", "acme_greet-1.0-py3-none-any.whl", bytes(pipe.got))


def encrypted(beast: Beast) -> Beast:
    """The bit that says so is set in the directory and in the members."""
    content = bytearray(beast.content)
    for marker, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        found = content.find(marker)
        while found >= 0:
            content[found + at] |= 1
            found = content.find(marker, found + 1)
    return replace(beast, content=bytes(content))


def called(beast: Beast, **about: str) -> Beast:
    return replace(beast, **about)  # type: ignore[arg-type]


LICENSED = ("License-Expression: MIT OR Apache-2.0", "License-File: LICENSE", "License-File: vendored/LICENSE")
RICH = (
    *("Summary: Grüße", "Author-email: Ä <a@acme.example>", "Keywords: a,b", "Classifier: Private :: Do Not Upload"),
    *("Project-URL: Home, https://acme.example/", "Requires-Python: >=3.8,!=3.9.1", "Provides-Extra: x_y"),
    *(
        'Requires-Dist: other[z]>=1; extra == "x_y" and python_version < "4"',
        "Requires-Dist: c @ https://acme.example/c.whl",
    ),
    *("Description-Content-Type: text/markdown; charset=UTF-8; variant=GFM", "Platform: any", "Download-URL: UNKNOWN"),
)


def epoch(kind: str) -> Beast:
    rest = {"filename": "acme_greet-1!2.0-py3-none-any.whl", "info": "acme_greet-1!2.0.dist-info"}
    told = document(version="1!2.0")
    made = wheel("", told, **rest) if kind == "wheel" else sdist("", told, filename="acme_greet-1!2.0.tar.gz")  # type: ignore[arg-type]
    return called(made, name=f"{kind} with an epoch", version="1!2.0")


LEGAL = (
    *(wheel(f"wheel with metadata {each}", document(metadata=each)) for each in VERSIONS),
    *(sdist(f"sdist with metadata {each}", document(metadata=each)) for each in (*VERSIONS, "1.0", "1.2")),
    wheel("wheel with every usual field", document(*RICH, text="# Grüße\n\nSo.\n")),
    wheel("wheel with windows line ends", document(*RICH, text="So.").replace(b"\n", b"\r\n")),
    wheel("wheel with licences as PEP 639 wants them", document(*LICENSED)),
    wheel("wheel with licence files before PEP 639", document("License-File: LICENSE", "License: MIT", metadata="2.1")),
    wheel("wheel with import names", document("Import-Name: acme_greet", "Import-Namespace: acme", metadata="2.5")),
    wheel("wheel with a field of the future", document("Mood: good", metadata="2.13")),
    sdist("sdist with dynamic dependencies", document("Dynamic: Requires-Dist", "Dynamic: License-File")),
    wheel("wheel with a build number", filename="acme_greet-1.0-2fix-py3-none-any.whl"),
    wheel("wheel for many interpreters", filename="acme_greet-1.0-py2.py3-none-any.whl"),
    wheel(
        "wheel for many platforms",
        filename="acme_greet-1.0-cp310.cp311-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.musllinux_1_1_x86_64.whl",
    ),
    wheel("wheel without compression", compression=zipfile.ZIP_STORED),
    wheel("wheel with folders and data", more={"acme_greet/": b"", "acme_greet-1.0.data/scripts/greet": b"#!python"}),
    wheel(
        "wheel with a signature and licences",
        more={"acme_greet-1.0.dist-info/licenses/LICENSE": b"", "acme_greet-1.0.dist-info/RECORD.jws": b""},
    ),
    wheel("wheel whose metadata spells the name otherwise", document(name="Acme.Greet")),
    wheel("wheel whose metadata spells the version otherwise", document(version="v1.0.0")),
    wheel("wheel whose folder spells the name otherwise", info="Acme.Greet-1.0.dist-info"),
    streamed_wheel(),
    epoch("wheel"),
    epoch("sdist"),
    called(
        wheel(
            "wheel with a local version",
            document(version="1.0+cu12.1"),
            filename="acme_greet-1.0+cu12.1-py3-none-any.whl",
            info="acme_greet-1.0+cu12.1.dist-info",
        ),
        version="1.0+cu12.1",
    ),
    called(
        sdist(
            "sdist of a development version",
            document(version="1.0rc1.post2.dev3"),
            filename="acme_greet-1.0rc1.post2.dev3.tar.gz",
        ),
        version="1.0rc1.post2.dev3",
    ),
    sdist("sdist with a dash in its name", filename="acme-greet-1.0.tar.gz", top="acme-greet-1.0"),
    sdist("sdist with a dot in its name", filename="Acme.Greet-1.0.tar.gz", top="Acme.Greet-1.0"),
    sdist(
        "sdist of setuptools, with another PKG-INFO",
        more={"acme_greet-1.0/acme_greet.egg-info/PKG-INFO": b"x", "acme_greet-1.0/setup.py": b""},
    ),
    sdist("sdist in ustar", form=tarfile.USTAR_FORMAT),
    sdist(
        "sdist in GNU's format, with long names",
        form=tarfile.GNU_FORMAT,
        more={f"acme_greet-1.0/{'long/' * 40}x.py": b""},
    ),
    sdist("sdist with names that are not ASCII", more={f"acme_greet-1.0/{'ä' * 120}.py": b""}),
)

ILLEGAL = tuple(
    called(beast, why=why)
    for why, beast in (
        ("Name", wheel("wheel without a name", document(name=""))),
        ("Version", wheel("wheel without a version", document(version=""))),
        ("metadata version", wheel("wheel without a metadata version", document(metadata=""))),
        ("3.0", wheel("wheel with metadata of the next era", document(metadata="3.0"))),
        ("name cannot be read", wheel("wheel with two names", document("Name: other"))),
        ("Requires-Dist", wheel("wheel that needs nonsense", document("Requires-Dist: !?"))),
        ("Requires-Python", wheel("wheel for no Python", document("Requires-Python: three"))),
        ("License-Expression", wheel("wheel with a licence that is none", document("License-Expression: MIT AND"))),
        ("License-File", wheel("wheel with a licence elsewhere", document("License-File: ../LICENSE"))),
        ("Dynamic", sdist("sdist whose name is dynamic", document("Dynamic: Name"))),
        ("the metadata other", wheel("wheel of another project", document(name="other"))),
        ("the metadata 2.0", wheel("wheel of another version", document(version="2.0"))),
        ("version", wheel("wheel without its local version", filename="acme_greet-1.0+local-py3-none-any.whl")),
        ("no METADATA", wheel("wheel without METADATA", left_out="METADATA")),
        (".dist-info/WHEEL", wheel("wheel without WHEEL", left_out="WHEEL")),
        (".dist-info/RECORD", wheel("wheel without RECORD", left_out="RECORD")),
        ("does not belong", wheel("wheel with a folder of another version", info="acme_greet-2.0.dist-info")),
        ("more than one .dist-info", wheel("wheel with two folders", more={"b-1.dist-info/entry_points.txt": b""})),
        ("no METADATA", wheel("wheel that is an egg", info="EGG-INFO")),
        ("by deflate", wheel("wheel compressed by bzip2", compression=zipfile.ZIP_BZIP2)),
        ("by deflate", wheel("wheel compressed by LZMA", compression=zipfile.ZIP_LZMA)),
        ("encrypted", encrypted(wheel("wheel that is encrypted"))),
        ("leads out", wheel("wheel with a path of Windows", more={"acme_greet\\..\\x.py": b""})),
        ("leads out", wheel("wheel with an absolute path", more={"/etc/passwd": b""})),
        ("no PKG-INFO", sdist("sdist without PKG-INFO", left_out="PKG-INFO")),
        ("more than one folder", sdist("sdist with two tops", more={"other-1.0/setup.py": b""})),
        ("2 PKG-INFO", sdist("sdist of two", more={"other-1.0/PKG-INFO": document(name="other")})),
        ("the metadata 2.0", sdist("sdist of another version", document(version="2.0"))),
        ("not a readable zip", called(sdist("wheel that is an sdist"), filename="acme_greet-1.0-py3-none-any.whl")),
        ("not a readable .tar.gz", called(wheel("sdist that is a wheel"), filename="acme_greet-1.0.tar.gz")),
        ("nor in .tar.gz", called(sdist("sdist as .zip"), filename="acme_greet-1.0.zip")),
        ("nor in .tar.gz", called(sdist("sdist as .tar.bz2"), filename="acme_greet-1.0.tar.bz2")),
        ("nor in .tar.gz", called(wheel("egg"), filename="acme_greet-1.0-py3.11.egg")),
    )
)

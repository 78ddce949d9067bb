"""Tiny projects, one for each build backend that pinwheel vouches for: the whole of a repository as text."""

from __future__ import annotations

from dataclasses import dataclass

NAME = "acme-zoo"
HEAD = f'name = "{NAME}"\nrequires-python = ">=3.10"\n'
FIXED = f'[project]\n{HEAD}version = "1.4.0"\ndescription = "Zoo"\n'
DYNAMIC = f'[project]\n{HEAD}dynamic = ["version"]\n'

PACKAGE = {
    "acme_zoo/__init__.py": '"""The zoo."""\n',
    "acme_zoo/data.json": "{}\n",
    "acme_zoo/deep/down/__init__.py": "",
    "README.md": "# Zoo\n",
}
SOURCE = {f"src/{path}": text for path, text in PACKAGE.items() if path != "README.md"} | {"README.md": "# Zoo\n"}

EXTENSION = """#include <Python.h>
#include <assert.h>
#ifndef __OPTIMIZE__
#error "the flags that Python was built with are lost"
#endif

static PyObject *where(PyObject *self, PyObject *args) {
    /* what a compiler knows of its surroundings */
    assert(self != args);
    return PyUnicode_FromString(__FILE__ " at " __TIME__);
}

static PyMethodDef methods[] = {{"where", where, METH_NOARGS, "Where this was compiled."}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", NULL, -1, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit__native(void) { return PyModule_Create(&module); }
"""


@dataclass(frozen=True, slots=True)
class Project:
    """The files of a repository; `native` when a C compiler is needed, `member` a file that its wheel has."""

    files: dict[str, str]
    native: bool = False
    member: str = "acme_zoo/data.json"


def _system(requires: str, backend: str, path: str = "") -> str:
    return f'[build-system]\nrequires = [{requires}]\nbuild-backend = "{backend}"\n{path}'


def _project(pyproject: str, files: dict[str, str] = PACKAGE, native: dict[str, str] | None = None) -> Project:
    made = {"pyproject.toml": pyproject, ".gitignore": "_version.py\n", **files, **(native or {})}
    return Project(made, bool(native), "acme_zoo/_native" if native else "acme_zoo/data.json")


SETUPTOOLS = _system('"setuptools>=77"', "setuptools.build_meta")
FOUND = (
    '[tool.setuptools.packages.find]\ninclude = ["acme_zoo*"]\n[tool.setuptools.package-data]\nacme_zoo = ["*.json"]\n'
)

PROJECTS = {
    "setuptools": _project(SETUPTOOLS + FIXED + FOUND),
    "setuptools-scm": _project(
        _system('"setuptools>=77", "setuptools-scm>=8"', "setuptools.build_meta")
        + f'{DYNAMIC}{FOUND}[tool.setuptools_scm]\nversion_file = "acme_zoo/_version.py"\n'
    ),
    "hatchling": _project(_system('"hatchling"', "hatchling.build") + FIXED),
    "hatch-vcs": _project(
        _system('"hatchling", "hatch-vcs"', "hatchling.build")
        + f'{DYNAMIC}[tool.hatch.version]\nsource = "vcs"\n'
        + '[tool.hatch.build.hooks.vcs]\nversion-file = "acme_zoo/_version.py"\n'
    ),
    "flit_core": _project(_system('"flit_core>=3.11,<5"', "flit_core.buildapi") + FIXED),
    "poetry-core": _project(_system('"poetry-core>=2"', "poetry.core.masonry.api") + FIXED),
    "uv_build": _project(_system('"uv_build"', "uv_build") + FIXED, SOURCE),
    "pdm-backend": _project(_system('"pdm-backend"', "pdm.backend") + FIXED),
    "setuptools, a C extension": _project(
        SETUPTOOLS + FIXED + FOUND + '[[tool.setuptools.ext-modules]]\nname = "acme_zoo._native"\n'
        'sources = ["acme_zoo/_native.c"]\nextra-compile-args = ["-UNDEBUG"]\n',
        native={"acme_zoo/_native.c": EXTENSION},
    ),
    "meson-python, a C extension": _project(
        _system('"meson-python", "ninja"', "mesonpy") + FIXED,
        native={
            "acme_zoo/_native.c": EXTENSION,
            "meson.build": "project('acme-zoo', 'c', version: '1.4.0')\n"
            "py = import('python').find_installation(pure: false)\n"
            "py.extension_module('_native', 'acme_zoo/_native.c', subdir: 'acme_zoo', install: true)\n"
            "py.install_sources('acme_zoo/__init__.py', 'acme_zoo/data.json', subdir: 'acme_zoo')\n",
        },
    ),
}

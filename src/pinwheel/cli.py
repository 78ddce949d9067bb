"""The command `pinwheel`: the task tree and the edge at which errors become text and exit codes.

The tree is an Invoke collection, so that a checkout's `tasks.py`, `inv` and a user's own `tasks.py` share it.
Invoke's own program lacks four things that a user expects (help after a task's name, no short flags that
nobody chose, exit code 2 on wrong usage, `--list` for a bundled tree), so there is a subclass of it here.
"""

from __future__ import annotations

import difflib
import errno
import functools
import inspect
import itertools
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Sequence, Set
from types import FrameType
from typing import Any

from invoke import Collection, Context, Exit, ParseError, Program, task

from pinwheel import console
from pinwheel.errors import PinwheelError, UsageError, describe

REMEDIES = {
    errno.ENOSPC: "free some space, or let TMPDIR or the configuration name another disk",
    errno.EDQUOT: "free some space, or let TMPDIR or the configuration name another disk",
    errno.EACCES: "give this user the right to it, or name another place",
    errno.EPERM: "give this user the right to it, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.ENOTDIR: "name a folder",
    errno.EISDIR: "name a file",
    errno.EEXIST: "name another place",
}
"""What to do about an error of the operating system that no module knew better."""

VALUES = {list: "=STRING", float: "=NUMBER"}
"""What Invoke's help leaves out: the values of flags that may be repeated, and of those that take a fraction."""


STATIONS = frozenset({"index", "packaging", "deploy"})


@task(help={"directory": "where to write it (default: here)"})
def init(_context: Context, directory: str = ".") -> None:
    """Write a commented pinwheel.toml to start from.

    Every key is in it with its default and an explanation; nothing is active until you uncomment it.

    Example:
      pinwheel init --directory ~/deploy
    """
    from pinwheel.scaffold import write

    console.say(f"wrote {write(directory)}: uncomment what you need; `pinwheel doctor` tells what is missing")


@task(help={"json": "print the findings as one JSON document"})
def doctor(_context: Context, json: bool = False) -> None:
    """Report what is missing on this machine and in this configuration, each with a remedy.

    Exits 1 when something that was asked for cannot work.

    Example:
      pinwheel doctor
    """
    from pinwheel.doctor import examine, report

    if not report(examine(), as_json=json):
        raise Exit(code=1)


@task(
    help={
        "keep": "leave index and hosts running and print how to look at them",
        "hosts": "how many hosts to roll out to (default: 3)",
        "json": "print one JSON document at the end",
    }
)
def demo(_context: Context, keep: bool = False, hosts: int = 3, json: bool = False) -> None:
    """Take two applications from git to running services on rootless hosts, and back.

    Every step is a command that you could type yourself; it is printed before it runs. Nothing needs root, a
    container engine or openssh, and nothing is left behind unless you ask for it.

    Example:
      pinwheel demo
      pinwheel demo --keep --hosts 5
    """
    from pinwheel.demo import run

    if hosts < 1:
        raise UsageError("a demo needs at least one host", remedy="--hosts 3")
    run(hosts=hosts, keep=keep, as_json=json)


@task
def demo_stop(_context: Context) -> None:
    """End what `demo --keep` left running.

    Example:
      pinwheel demo-stop
    """
    from pinwheel.demo import stop

    stop()


@task(
    positional=["system"],
    help={
        "system": "github (Actions) or gitlab (CI)",
        "name": "PROJECT of pinwheel.toml, for a repository that holds several (default: the one at its top)",
        "out": "the repository into which the file is written (default: none; it is printed)",
        "force": "write over a file that is there and says something else (default: that is an error)",
    },
)
def render(_context: Context, system: str, name: str = "", out: str = "", force: bool = False) -> None:
    """Write the CI configuration of a repository: check merge requests, release what a version tag names.

    The Pythons are those of packaging.pythons in pinwheel.toml, the index is index.url. Without --out it is printed.

    Example:
      pinwheel ci.render github --out .
      pinwheel ci.render gitlab --name acme-shop
    """
    from pinwheel import ci_template, config

    text = ci_template.render(system, config.load(), name)
    if not out:
        console.data(text.rstrip("\n"))
        return
    file, written = ci_template.write(system, text, out, force=force)
    console.say(f"wrote {file}" if written else f"{file} is as it should be")


def collection(*more: Callable[..., Any], stations: Set[str] = STATIONS) -> Collection:
    """The task tree, each task guarded by the edge, with all stations unless some are named. `more` are tasks of a
    checkout, or of a user's own."""
    tree = Collection(init, doctor, demo, demo_stop, *more)
    if "index" in stations:
        from pinwheel.index import commands as index

        tree.add_collection(index.collection())
    if "packaging" in stations:
        from pinwheel.packaging import commands as packaging

        tree.add_collection(packaging.collection())
    if "deploy" in stations:
        from pinwheel.deploy import commands as deploy

        tree.add_collection(deploy.collection())
    tree.add_collection(Collection("ci", render))
    guard(tree)
    return tree


def stations_of(words: Sequence[str]) -> Set[str]:
    """The stations whose tasks `words` name, which are all that a command line needs; all when they name none."""
    return STATIONS & {word.partition(".")[0] for word in words if "." in word} or STATIONS


def guard(tree: Collection) -> None:
    """Put the edge around every task of `tree`: errors become text, and flags are only those that were named."""
    for one in tree.tasks.values():
        one.body = _edge(one.body)
        one.auto_shortflags = False
    for below in tree.collections.values():
        guard(below)


def _edge(body: Callable[..., Any]) -> Callable[..., Any]:
    if hasattr(body, "__edge__"):
        return body

    @functools.wraps(body)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        printed = console.documents()
        try:
            return body(*args, **kwargs)
        except PinwheelError as error:
            told, code, said = error, error.exit_code, describe(error)
        except KeyboardInterrupt as error:
            code, told, said = _interrupted(error), PinwheelError("interrupted"), "interrupted"
        except BrokenPipeError:
            raise  # the reader of our data is gone: `Commands.run`
        except OSError as error:
            told, code = _of_the_system(error), 1
            said = describe(told)
        console.say(said)
        console.annotate("error", said.removeprefix("error: "))
        if kwargs.get("json") and console.documents() == printed:
            console.document({"error": {"problem": told.problem, "where": told.where, "remedy": told.remedy}})
        raise Exit(code=code)

    guarded.__edge__ = True  # type: ignore[attr-defined]
    return guarded


def _interrupted(error: KeyboardInterrupt) -> int:
    """The exit code: SIGTERM and SIGHUP say which signal it was; Ctrl-C says nothing."""
    return 128 + int(error.args[0] if error.args else signal.SIGINT)


def _of_the_system(error: OSError) -> PinwheelError:
    """What the operating system refused, in the form of every error: a place that was not prepared for it."""
    return PinwheelError(
        error.strerror or type(error).__name__,
        where=str(error.filename or ""),
        remedy=REMEDIES.get(error.errno or 0, "correct what the system says, and run the command again"),
    )


class Commands(Program):
    """Invoke's program, with help anywhere and exit code 2 on wrong usage."""

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:  # noqa: A002 - Invoke's name
        try:
            try:
                super().run(argv, exit)
            finally:
                if sys.stdout is not None:  # it was closed before we started
                    sys.stdout.flush()
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # before a task began, of which Invoke makes a 1
                sys.exit(_interrupted(error.__context__))
            raise
        except OSError as error:
            # the reader went away (`pinwheel … | head`): nobody is left to tell. All else (/dev/full) is told
            if not isinstance(error, BrokenPipeError):
                console.say(describe(_of_the_system(error)))
            # Python flushes once more at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    def normalize_argv(self, argv: Sequence[str] | None) -> None:
        """Turn `TASK … --help` into `--help TASK`, and `TASK … -- WORDS` into `TASK … --command=WORDS`, which is what
        Invoke understands."""
        given = list(sys.argv if argv is None else argv)
        before = given[: given.index("--")] if "--" in given else given
        if len(before) < len(given):
            given = [*before, f"--command={shlex.join(given[len(before) + 1 :])}"]
        if {"-h", "--help"} & set(before[1:]):
            named = [word for word in before[1:] if not word.startswith("-")]
            given = [given[0], "--help", *named[:1]]
        self.argv = given

    def parse_core(self, argv: Sequence[str] | None) -> None:
        writes_bytecode = not sys.dont_write_bytecode
        self._usage(super().parse_core, argv)
        # Invoke switches bytecode off, which would compile every module of a checkout anew at each start
        sys.dont_write_bytecode = not writes_bytecode

    def parse_tasks(self) -> None:
        self._usage(super().parse_tasks)

    def parse_cleanup(self) -> None:
        self._usage(super().parse_cleanup)

    def _usage(self, parse: Callable[..., None], *args: Any) -> None:
        try:
            parse(*args)
        except ParseError as error:
            task = error.context.name if error.context is not None else None
            remedy = (
                f"{self.binary} {task} --help" if task else f"{self.binary} --help lists the tasks{self._nearest()}"
            )
            said = re.sub(r"<Argument: (\w+)[^>]*>", r"--\1", str(error))  # for Invoke's own readers
            raise Exit(f"error: {said}\n  remedy: {remedy}", code=2) from error
        except ValueError as error:
            # Invoke reads a flag that takes a number with int()
            said = f"error: {self._not_a_number()}\n  remedy: write one in digits; {self.binary} TASK --help"
            raise Exit(said, code=2) from error

    def _not_a_number(self) -> str:
        """What is wrong with the first value that a flag cannot take; Invoke tells the value alone."""
        kinds = {flag: each.kind for one in self.parser.contexts.values() for flag, each in one.flags.items()}
        words = [part for word in self.argv[1:] for part in word.split("=", 1)]
        for flag, value in itertools.pairwise(words):
            if (kind := kinds.get(flag)) in (int, float):
                try:
                    kind(value)
                except ValueError:
                    return f"{flag} takes a number, and not {value!r}"
        return "a flag takes a number"

    def _nearest(self) -> str:
        words = [word for word in self.argv[1:] if not word.startswith("-")]
        near = difflib.get_close_matches(words[0], self.collection.task_names, n=1) if words else []
        return f"; did you mean {near[0]}?" if near else ""

    def print_version(self) -> None:
        from importlib.metadata import version

        console.data(f"{self.name} {version('pinwheel-kit')}")

    def print_help(self) -> None:
        console.data(f"Usage: {self.binary} TASK [--options]\n       {self.binary} TASK --help\n")
        self.list_tasks()

    def print_task_help(self, name: str) -> None:
        context = self.parser.contexts[name]
        positional = " ".join(arg.name.upper() for arg in context.positional_args)
        values = {flag: VALUES.get(argument.kind, "") for flag, argument in context.flags.items()}
        flags = [(flag + values.get(flag, ""), text) for flag, text in context.help_tuples()]
        words = [f"Usage: {self.binary} {name}", positional, "[--options]" if flags else ""]
        console.data(" ".join(filter(None, words)) + "\n")
        console.data((inspect.getdoc(self.collection[name]) or "") + "\n")
        if flags:
            console.data("Options:")
            self.print_columns(flags)

    def task_list_opener(self, extra: str = "") -> str:
        return "Tasks"


def program(tree: Collection) -> Commands:
    """The program around `tree`, under the name `pinwheel`."""
    return Commands(
        name="pinwheel",
        binary="pinwheel",
        binary_names=["pinwheel"],
        namespace=tree,
    )


def main() -> None:
    """Run the command line. SIGTERM and SIGHUP end a task as Ctrl-C does, so that its children end too."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _terminate)
    program(collection(stations=stations_of(sys.argv[1:]))).run()


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)

"""The entry point: `pinwheel`, and `python -m pinwheel`. Small, so that Ctrl-C is understood from the first moment."""

import sys
import types


def start() -> None:
    """Run the command line."""
    try:
        import_invoke()
        from pinwheel.cli import main

        main()
    except KeyboardInterrupt as error:
        sys.exit(128 + (error.args[0] if error.args else 2))


def import_invoke() -> None:
    """Import Invoke without unittest.mock, and asyncio behind that: a seventh of the start of every command.

    Invoke has it for MockContext, with which people test their tasks; no command does. Whoever imports it later gets
    the real one.
    """
    stand_in = types.ModuleType("unittest.mock")
    stand_in.Mock = object  # type: ignore[attr-defined]
    absent = sys.modules.setdefault("unittest.mock", stand_in) is stand_in
    import invoke  # noqa: F401

    if absent:
        del sys.modules["unittest.mock"]


if __name__ == "__main__":
    start()

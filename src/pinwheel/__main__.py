"""The entry point: `pinwheel`, and `python -m pinwheel`. Small, so that Ctrl-C is understood from the first moment."""

import sys


def start() -> None:
    """Run the command line."""
    try:
        from pinwheel.cli import main

        main()
    except KeyboardInterrupt as error:
        sys.exit(128 + (error.args[0] if error.args else 2))


if __name__ == "__main__":
    start()

"""The command `acme-shop`."""

import argparse

import waitress

from acme_shop.web import application


def main() -> None:
    """Serve the shop until a signal ends it."""
    parser = argparse.ArgumentParser(prog="acme-shop", description="Serve Acme's shop.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="the port to listen on (default: %(default)s)")
    given = parser.parse_args()
    waitress.serve(application(), host=given.host, port=given.port, threads=4)

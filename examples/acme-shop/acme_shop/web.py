"""The shop's pages."""

import os
import socket
from importlib.metadata import version

from acme_greet import greeting
from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from acme_shop.greeting import NAME
from acme_shop.health import HEALTHY


def application() -> Flask:
    """The WSGI application."""
    app = Flask("acme_shop")

    @app.get("/")
    def index() -> ResponseReturnValue:
        host = os.environ.get("ACME_HOST") or socket.gethostname()
        return jsonify(greeting=greeting(NAME), version=version("acme-shop"), host=host)

    @app.get("/health")
    def health() -> ResponseReturnValue:
        return jsonify(healthy=HEALTHY, version=version("acme-shop")), 200 if HEALTHY else 500

    return app

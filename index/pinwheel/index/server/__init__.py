"""The processes that serve: sockets, workers, logs, metrics, and how the parts are put together."""

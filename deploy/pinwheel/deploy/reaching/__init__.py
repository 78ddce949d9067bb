"""The way to a host: SSH, its keys, and one request and its answers on a channel."""

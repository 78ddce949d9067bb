"""How Acme greets."""

WORD = "Hello"


def greeting(name: str) -> str:
    """A greeting for `name`."""
    return f"{WORD}, {name}!"

"""The index as one WSGI application."""

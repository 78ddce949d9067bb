"""Acme's shop: a small web service."""

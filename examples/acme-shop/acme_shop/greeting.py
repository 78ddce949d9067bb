"""Whom the shop greets."""

NAME = "customer"

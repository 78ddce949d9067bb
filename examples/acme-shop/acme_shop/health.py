"""Whether the shop is well."""

HEALTHY = True

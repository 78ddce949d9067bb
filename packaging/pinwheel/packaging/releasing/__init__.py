"""Many projects: what there is to do, in which order, and doing it."""

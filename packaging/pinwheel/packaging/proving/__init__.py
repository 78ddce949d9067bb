"""Whether a file is what a statement by somebody trusted says."""

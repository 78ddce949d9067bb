"""What is sent to a host and runs there, on its own Python and nothing else."""

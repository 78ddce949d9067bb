"""Plans carried out on hosts, under the environment's lease."""

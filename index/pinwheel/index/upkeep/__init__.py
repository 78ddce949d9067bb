"""What is done to an index now and then: backup, restore, verify, sweep, prune."""

"""From a lock to healthy services on hosts: plan, prepare everywhere, activate in waves, revert by itself."""

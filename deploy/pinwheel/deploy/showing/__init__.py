"""What people and scripts see of plans, rollouts and hosts."""

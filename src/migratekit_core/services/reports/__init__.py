"""What was done with a machine, or in a job, gathered from both databases."""

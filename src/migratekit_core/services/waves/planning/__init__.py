"""From machines and rules to waves. `plan.plan` puts the steps together; none of them reads anything."""

"""What stands in the way of a migration: rules over the inventory, the target and the permissions. Changes nothing."""

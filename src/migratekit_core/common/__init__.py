"""What every part may use: errors, units, secrets masked, files, programs."""

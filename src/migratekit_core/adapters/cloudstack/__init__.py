"""The target side: CloudStack's compute, networks and offerings. Volumes are the volume daemon's alone."""

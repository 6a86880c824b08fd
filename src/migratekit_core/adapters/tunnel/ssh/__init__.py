"""The `ssh` kind, for sites whose OMA offers nothing but SSH: the three services as forwarded channels of one login."""

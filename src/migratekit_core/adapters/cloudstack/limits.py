"""Limits of CloudStack, as they are where nobody has changed them."""

DATA_DISKS = 32
"""Data disks that CloudStack attaches to one virtual machine on KVM: hypervisor_capabilities.max_data_volumes_limit of
a fresh 4.22. Its administrator can change it, and only he may ask for it (listHypervisorCapabilities)."""
LEAST_MEMORY = 32
"""MiB that CloudStack asks of a machine at least, also with a custom offering."""

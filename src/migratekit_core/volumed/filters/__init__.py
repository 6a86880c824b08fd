"""What keeps the OMA's own Linux from looking into replicas: filters that know its own disks, and refuse all others."""

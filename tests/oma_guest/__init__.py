"""What needs a real OMA: its Linux, its systemd, its boot. `nox -s oma_guest`; not in CI, for it takes half an hour."""

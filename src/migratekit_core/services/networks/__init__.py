"""Which network of the cloud stands for which network of the source: files, what is stored, and what is incomplete."""

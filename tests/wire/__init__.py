"""Two hosts and the link between them on one machine: network namespaces, port scans, captures, and a narrow line."""

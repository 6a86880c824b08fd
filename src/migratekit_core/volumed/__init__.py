"""OSSEA volumes: everybody uses `client`; the daemon behind it is the only one who touches them."""

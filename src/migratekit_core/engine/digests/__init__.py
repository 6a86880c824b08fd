"""Digests of blocks, made where the bytes are: two sides compare what they hold without sending it."""

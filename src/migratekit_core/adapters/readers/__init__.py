"""Source readers: each turns one disk of one snapshot into an NBD URI."""

"""The tables. Names and columns of `oma` and `volumes` are a contract (docs/database.md); `joblog` holds our own."""

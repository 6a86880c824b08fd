"""What somebody means ill by: each case is refused, with the reason's code, in bounded time and memory."""

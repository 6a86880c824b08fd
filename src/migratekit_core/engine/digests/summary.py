"""One digest of many: what a person can compare, and a report can show, where a disk has thousands of block digests."""

from __future__ import annotations

from migratekit_core.engine.digests.blocks import Range


class Summary:
    """The digest of blocks' digests and of where the blocks are."""

    def __init__(self) -> None:
        from blake3 import blake3

        self._hash = blake3()

    def add(self, block: Range, digest: bytes) -> None:
        """Take the next block."""
        offset, length = block
        self._hash.update(offset.to_bytes(8, "big") + length.to_bytes(8, "big") + digest)

    def text(self) -> str:
        """Return it in hexadecimal."""
        return self._hash.hexdigest()

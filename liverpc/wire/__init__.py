"""Bytes to frames and back. No sockets, no event loop; the bytes are described in docs/protocol.md."""

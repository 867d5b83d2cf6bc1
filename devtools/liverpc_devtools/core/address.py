"""What people write for a server: a URL, or ``@`` and the name of a context."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from liverpc.inspector.protocol import TOKEN_VARIABLE
from liverpc_devtools.core.settings import Context, Settings
from liverpc_devtools.core.target import Target, find_target

__all__ = ["Address"]


@dataclass(frozen=True)
class Address:
    """A server that somebody wants to attach to.

    Args:
        word: What was written; None: the only server on this machine.
        context: What ``@word`` stands for.
        token_file: For servers that are no contexts.
        insecure: Likewise.
    """

    word: str | None
    context: Context | None = None
    token_file: Path | None = None
    insecure: bool = False

    @classmethod
    def of(
        cls, word: str | None, settings: Settings, *, token_file: Path | None = None, insecure: bool = False
    ) -> Address:
        """The address that a word of the command line means.

        Raises:
            ConfigError: There is no such context.
        """
        if word is not None and word.startswith("@"):
            return cls(word, settings.context(word[1:]))
        return cls(word, None, token_file, insecure)

    @property
    def readonly(self) -> bool:
        """Whether nothing may be changed there."""
        return self.context is not None and self.context.readonly

    def find(self) -> Target:
        """Look the server and its token up, as they are now.

        The token of the environment goes to servers that are no contexts, and to contexts without a token of their own.

        Raises:
            ConfigError: As :func:`~liverpc_devtools.core.target.find_target`, or the context's token cannot be had.
        """
        context = self.context
        if context is None:
            return find_target(self.word, token_file=self.token_file, insecure=self.insecure)
        secret = context.token
        return find_target(
            context.url,
            token_file=Path(context.token_file).expanduser() if context.token_file and not secret else None,
            insecure=context.insecure,
            environ={TOKEN_VARIABLE: secret} if secret else os.environ,
        )

"""Which words of a command line are URLs, and which URLs are refused."""

from __future__ import annotations

import re

from dprune_cli.core.errors import UsageError

URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE | re.DOTALL)
_COMMAND = re.compile(r"pipe:", re.IGNORECASE)
LOCAL = frozenset({"file", "local"})
WEB = frozenset({"http", "https"})
# They open further places that their content names, run code elsewhere, or keep pickles.
_INDIRECT = re.compile(
    "asynclocal|async_?wrapper|blockcache|cached|dask|data|dir|dvc|filecache|generic|git|jlab|jupyter|"
    "libarchive|pyscript|reference|root|simplecache|tar|zip"
)
# `name:password@`. Secrets have slashes in them and may begin like a port, so none is trusted to be one.
_LOGIN = re.compile(r"[^/@:]*:[^@]*@")
_SECRET = re.compile(r"[?&][^=&]*(token|sig|secret|key|pass|auth|cred|policy)[^=&]*=", re.IGNORECASE)


def is_url(word: str) -> bool:
    """Whether a word names a storage, as in `s3://bucket/train`."""
    return URL.match(word) is not None


def check_url(word: str) -> None:
    """Refuse what is neither a path nor the URL of one place in one storage.

    Raises:
        UsageError: a command, a chain of URLs, a storage that leads elsewhere or is unknown, credentials.
    """
    if _COMMAND.match(word):
        raise UsageError(f"{word}: is a command, and dprune runs none; pipe its output to dprune and give -")
    if "::" in word and "://" in word:
        raise UsageError(f"{_shown(word)}: chains URLs; give the URL of the data themselves")
    found = URL.match(word)
    if found is None:
        return
    protocol, rest = found[1].lower(), found[2]
    if protocol in LOCAL:
        if not rest.startswith("/"):
            raise UsageError(f"{word}: write {protocol}:///absolute/path, or the path alone")
        return
    has_login = _LOGIN.match(rest) or (protocol in WEB and "@" in rest.partition("/")[0])
    if has_login or _SECRET.search(rest) or (protocol in WEB and "?" in rest):
        raise UsageError(
            f"{_shown(word)}: holds credentials, or may; it would be recorded in tables: give them in the "
            "environment, as its storage library expects them"
        )
    if _INDIRECT.fullmatch(protocol):
        raise UsageError(f"{word}: {protocol}:// leads to other places; name the data themselves")


def _shown(url: str) -> str:
    """A URL without what may be a secret in it."""
    plain = re.sub(r"//.*@", "//", url)
    return plain.partition("?")[0]

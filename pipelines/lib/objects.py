"""An object store that speaks S3's protocol, as far as the lake needs it.

Objects appear whole or not at all, by the protocol itself. Keys and secrets come from where every
S3 client looks for them (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, an instance's role); a
server of one's own is named in the URL:
``s3://bucket/folder?endpoint_override=http://127.0.0.1:9000``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_SECONDS = ("connect_timeout", "request_timeout")


class Objects:
    """The objects below one prefix of a bucket."""

    def __init__(self, url: str) -> None:
        """Open ``s3://bucket/prefix``; nothing is asked of the server yet."""
        from pyarrow import fs

        parts = urlsplit(url)
        options: dict[str, Any] = {n: values[-1] for n, values in parse_qs(parts.query).items()}
        options |= {name: float(options[name]) for name in _SECONDS if name in options}
        endpoint = urlsplit(options.get("endpoint_override", ""))
        if endpoint.scheme in ("http", "https"):
            options |= {"scheme": endpoint.scheme, "endpoint_override": endpoint.netloc}
        self.url = f"s3://{parts.netloc}{parts.path}"
        self._root = f"{parts.netloc}{parts.path}".rstrip("/")
        self._fs: Any = fs.S3FileSystem(**options)
        self._files = fs

    def names(self) -> set[str]:
        """Return the names of all objects directly below the prefix."""
        selector = self._files.FileSelector(self._root, allow_not_found=True)
        return {info.base_name for info in self._fs.get_file_info(selector) if info.is_file}

    def put(self, path: Path, name: str) -> None:
        """Store the content of ``path`` as ``name``, in place of what was there."""
        self._copy(path, f"{self._root}/{name}", up=True)

    def get(self, name: str, path: Path) -> None:
        """Write the object ``name`` to ``path``."""
        self._copy(path, f"{self._root}/{name}", up=False)

    def remove(self, name: str) -> None:
        """Remove the object ``name``; one that is not there is removed already."""
        key = f"{self._root}/{name}"
        if self._fs.get_file_info(key).is_file:
            self._fs.delete_file(key)

    def _copy(self, path: Path, key: str, *, up: bool) -> None:
        local = self._files.LocalFileSystem()
        ends = ((str(path), local), (key, self._fs))
        (source, source_fs), (target, target_fs) = ends if up else reversed(ends)
        self._files.copy_files(
            source, target, source_filesystem=source_fs, destination_filesystem=target_fs
        )


def opened(url: str) -> Objects | None:
    """Return the object store at ``url``, None for a lake that is a local folder."""
    return Objects(url) if url else None

"""Exports: a job's labels as files of other tools."""

from pathlib import Path

from ccd_client._async.handles import AsyncPages, AsyncWork
from ccd_client._async.transport import AsyncTransport
from ccd_client.calls import Call, at, get
from ccd_client.downloads import OnBytes
from ccd_client.models import ExportFields, Receipt


class AsyncExport(AsyncWork, ExportFields):
    """A job's labels in the format of another tool."""

    @property
    def path(self) -> str:
        """Its address below the service's."""
        return at("exports", self.id)

    async def download(self, target: str | Path, *, on_progress: OnBytes | None = None) -> Path:
        """Save its file, once it has succeeded; into a folder, under the file's own name."""
        target = Path(target)
        if target.is_dir() and self.file is not None:
            target /= Path(self.file.name).name
        sha256 = None if self.file is None else self.file.sha256
        return await self._transport.download(
            Call("GET", f"{self.path}/file"), target, sha256=sha256, on_progress=on_progress
        )

    async def delete(self) -> Receipt:
        """Delete it and its file."""
        content = await self._transport.json(Call("DELETE", self.path))
        return Receipt.read({"id": self.id, **content})


class AsyncExports:
    """The exports of a service; a job makes them."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(self, export_id: str) -> AsyncExport:
        """One export."""
        return self._export(await self._transport.json(get(at("exports", export_id))))

    def list(self) -> AsyncPages[AsyncExport]:
        """All exports, newest first."""
        return AsyncPages(self._transport, at("exports"), {}, self._export)

    def _export(self, content: object) -> AsyncExport:
        return AsyncExport.of(content, self._transport)

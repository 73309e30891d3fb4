"""Datasets: images that nobody has labelled."""

from collections.abc import Mapping
from typing import Any

from ccd_client._async.handles import AsyncPages, AsyncWork
from ccd_client._async.transport import AsyncTransport
from ccd_client.calls import Call, at, create, get, given
from ccd_client.models import DatasetFields, Image, Receipt, SkippedFile
from ccd_client.requests import ServerFolders, images_body
from ccd_client.uploads import Files, OnBytes


class AsyncDataset(AsyncWork, DatasetFields):
    """Registered images."""

    @property
    def path(self) -> str:
        """Its address below the service's."""
        return at("datasets", self.id)

    @property
    def is_over(self) -> bool:
        """Whether it is registered, or failed."""
        return self.status != "registering"

    @property
    def is_good(self) -> bool:
        """Whether jobs can use it."""
        return self.status == "ready"

    def images(self) -> AsyncPages[Image]:
        """Its images."""
        return AsyncPages(self._transport, f"{self.path}/images", {}, Image.read)

    def skipped(self) -> AsyncPages[SkippedFile]:
        """The files that cannot be used, and why."""
        return AsyncPages(self._transport, f"{self.path}/skipped", {}, SkippedFile.read)

    async def delete(self) -> Receipt:
        """Delete it; a folder of the server stays as it is.

        Maps and new `yolo_cls` exports of its jobs, and rows of predictions on it, are `Gone` then.
        """
        content = await self._transport.json(Call("DELETE", self.path))
        return Receipt.read({"id": self.id, **content})


class AsyncDatasets:
    """The datasets of a service."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        folder: ServerFolders | None = None,
        *,
        source: Mapping[str, Any] | None = None,
        name: str | None = None,
        max_bad_fraction: float | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncDataset:
        """Register a folder of the server, several as one dataset, or another source there."""
        body = {
            **images_body(None, folder, source),
            "name": name,
            "max_bad_fraction": max_bad_fraction,
        }
        call = create(at("datasets"), body, idempotency_key)
        return self._dataset(await self._transport.json(call))

    async def upload(
        self,
        files: Files,
        *,
        name: str | None = None,
        max_bad_fraction: float | None = None,
        on_progress: OnBytes | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncDataset:
        """Send a folder, a zip file or single images of this machine."""
        fields = given({"name": name, "max_bad_fraction": max_bad_fraction})
        content = await self._transport.upload(
            at("datasets"),
            files,
            fields={field: str(value) for field, value in fields.items()},
            files_field="files",
            on_progress=on_progress,
            idempotency_key=idempotency_key,
        )
        return self._dataset(content)

    async def get(self, dataset_id: str) -> AsyncDataset:
        """One dataset."""
        return self._dataset(await self._transport.json(get(at("datasets", dataset_id))))

    def list(self) -> AsyncPages[AsyncDataset]:
        """All datasets, newest first."""
        return AsyncPages(self._transport, at("datasets"), {}, self._dataset)

    def _dataset(self, content: object) -> AsyncDataset:
        return AsyncDataset.of(content, self._transport)

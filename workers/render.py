"""The map of one class on one image, made when somebody asks for it: docs/method.md 19."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.images import RESIZE, decode, resize, to_tensor
from models.overlay import min_max, overlay, upsample
from workers.cams import Cam, CamCache, CamFormat
from workers.files import WEIGHTS
from workers.jobs import Claim
from workers.units import Finished, OnBatch, Workbench

GRID_FILE = "cams.safetensors"


class DatasetGone(Exception):
    """The images were deleted after their map was asked for."""

    code = "dataset_deleted"

    def __init__(self, dataset_id: str) -> None:
        super().__init__(f"{dataset_id} has been deleted")


def render_cam(claim: Claim, bench: Workbench, on_batch: OnBatch) -> Finished:
    """One map, published into the cache."""
    rendering = _Rendering(claim, bench)
    cam = rendering.cam

    def make(staging: Path) -> None:
        grid = rendering.grids()[cam.channel]
        on_batch(0)
        heat = upsample(grid, height=cam.height, width=cam.width)
        if cam.format == CamFormat.PNG:
            _write_png(staging / cam.file, rendering.image, heat)
        else:
            np.save(staging / cam.file, heat.numpy(), allow_pickle=False)

    rendering.cache.produce(cam.name, make, nonce=claim.nonce)
    return Finished(cam.name, 1)


class _Rendering:
    """One map in the making. The student looks once at an image, for all classes together."""

    def __init__(self, claim: Claim, bench: Workbench) -> None:
        self._nonce, self._bench, self._request = claim.nonce, bench, claim.record.request
        self.cam = Cam(**self._request["cam"])
        self.cache = CamCache(bench.folder)

    @cached_property
    def image(self) -> Image.Image:
        """The upright image at full size, if its file is still the one that was registered."""
        dataset_id = self._request["dataset_id"]
        try:
            files = self._bench.files(dataset_id)
        except FileNotFoundError as error:
            raise DatasetGone(dataset_id) from error
        return decode(files.read(self._request["content"]))

    def grids(self) -> Tensor:
        """(C, h, w) activations: from the cache, or seen now and kept there."""
        name = self.cam.grid_name
        if self.cache.has(name):
            return load_file(self.cache.folder(name) / GRID_FILE)["cams"]
        cams = self._look()
        self.cache.produce(
            name, lambda staging: save_file({"cams": cams}, staging / GRID_FILE), nonce=self._nonce
        )
        return cams

    @torch.inference_mode()
    def _look(self) -> Tensor:
        """(C, h, w) activations of the image at the size at which boxes are looked for."""
        weights = self._bench.folder.student(self._request["student_id"]) / WEIGHTS
        student = self._bench.student(weights, self.cam.student_sha256)
        squashed = to_tensor(resize(self.image, student.header["config"]["cam_size"]))
        cams: Tensor = student.cams(student.prepare(squashed[None]))[0]
        return cams.contiguous()


def _write_png(path: Path, image: Image.Image, heat: Tensor) -> None:
    height, width = heat.shape
    picture = overlay(to_tensor(image.resize((width, height), RESIZE)), min_max(heat))
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path)

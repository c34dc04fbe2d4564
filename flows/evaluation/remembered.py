"""What was computed once: figures in a small database, slow restorers' pictures in files; both named by content."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from actors.geometry import Landmarks
from flows.evaluation.figures import FIGURES_VERSION, Figures
from flows.evaluation.restorers import Restored, Restorer
from flows.evaluation.samples import Image, Sample
from storage.errors import DestinationError
from storage.folders import open_folder


class FigureStore:
    """Figures by what they were taken of: sample and restorer. One file, shared by runs at the same time."""

    def __init__(self, folder: Path, setting: str = "") -> None:
        """Args:
            folder: takes ``figures.sqlite``.
            setting: what times depend on beside sample and restorer: device and threads.

        Raises:
            DestinationError: the file cannot be used.
        """
        self._path, self._setting = open_folder(folder) / "figures.sqlite", setting
        with self._told():
            self._rows = sqlite3.connect(self._path, timeout=60, isolation_level=None)
            self._rows.execute("CREATE TABLE IF NOT EXISTS figures (key TEXT PRIMARY KEY, value TEXT NOT NULL)")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever the database refuses is one line."""
        try:
            yield
        except sqlite3.Error as error:
            raise DestinationError(
                f"{self._path}: cannot be used ({error}); remove it or give another --cache"
            ) from error

    def get(self, key: str) -> Any:
        """What is remembered under a key, or None."""
        with self._told():
            row = self._rows.execute("SELECT value FROM figures WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, value: Any) -> None:
        """Remember a value that JSON can hold."""
        with self._told():
            self._rows.execute("INSERT OR REPLACE INTO figures VALUES (?, ?)", (key, json.dumps(value)))

    def figures(self, sample: Sample, restorer: Restorer) -> Figures | None:
        """Figures of a restorer's answer to a sample, or None; the time only if it was taken in this setting."""
        key = sample_key(sample, restorer)
        found = self.get(key)
        return None if found is None else Figures(**{**found, "ms": self.get(self._time_key(key))})

    def remember(self, sample: Sample, restorer: Restorer, figures: Figures) -> None:
        """Keep them."""
        key = sample_key(sample, restorer)
        self.put(key, asdict(figures))
        if figures.ms is not None:
            self.put(self._time_key(key), figures.ms)

    def _time_key(self, key: str) -> str:
        return f"{key} ms {self._setting}"


def sample_key(sample: Sample, restorer: Restorer) -> str:
    """Hash of everything that the figures depend on."""
    digest = hashlib.sha256(f"{FIGURES_VERSION} {restorer.identity} {sample.crop} {sample.box}".encode())
    for array in (sample.picture_lr, sample.truth, sample.landmarks):
        digest.update(f"{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class RememberingRestorer:
    """A slow restorer, of pixels alone, whose answers are kept as files, with the time that they took."""

    uses_landmarks = False

    def __init__(self, restorer: Restorer, folder: Path, setting: str = "") -> None:
        """Args:
        folder: takes a file for each answer.
        setting: what times depend on; one that was taken in another is not given again.
        """
        self._restorer, self._setting = restorer, setting
        self._folder = open_folder(folder)

    @property
    def identity(self) -> str:
        """The slow restorer's."""
        return self._restorer.identity

    def restore(self, crops_rgb: Sequence[Image], landmarks: Sequence[Landmarks]) -> list[Restored]:
        """Each crop restored, now or earlier."""
        return [self._one(crop_rgb, places) for crop_rgb, places in zip(crops_rgb, landmarks, strict=True)]

    def _one(self, crop_rgb: Image, landmarks: Landmarks) -> Restored:
        digest = hashlib.sha256(f"{self.identity} {crop_rgb.shape}".encode())
        digest.update(crop_rgb.tobytes())
        path = self._folder / f"{digest.hexdigest()}.npz"
        try:
            with np.load(path) as kept:
                image_bgr = cv2.imdecode(kept["png_bgr"], cv2.IMREAD_COLOR)
                if image_bgr is not None:
                    known = "setting" in kept and str(kept["setting"]) == self._setting
                    image = np.ascontiguousarray(image_bgr[..., ::-1], np.uint8)
                    return Restored(image, float(kept["ms"]) if known else None)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            pass  # absent, or left broken by a crash: compute it
        restored = self._restorer.restore([crop_rgb], [landmarks])[0]
        _, png_bgr = cv2.imencode(".png", restored.image[..., ::-1])
        assert restored.ms is not None  # it was computed now
        content = io.BytesIO()
        np.savez(content, png_bgr=png_bgr, ms=restored.ms, setting=self._setting)
        draft = path.with_suffix(f".{os.getpid()}.part")
        try:
            draft.write_bytes(content.getvalue())
            draft.replace(path)
        except OSError as error:
            raise DestinationError(f"{path}: cannot be written ({error.strerror}); give another --cache") from error
        return restored

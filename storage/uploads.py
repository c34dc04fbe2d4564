"""Uploads to S3 that were begun and neither completed nor aborted: they cost space, and listings do not show them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.store import Store, is_remote


@dataclass(frozen=True)
class Upload:
    """A multipart upload."""

    url: str
    """Of the object that it would become."""
    upload_id: str
    begun: datetime
    """Timezone-aware."""


def open_uploads(below: str, store: Store) -> Iterator[Upload]:
    """Every open upload to a key below a prefix; none on disks.

    Args:
        below: `s3://bucket` or `s3://bucket/prefix`, without the slash that ends it.
    """
    if not is_remote(below):
        return
    filesystem, path = store.filesystem(below)
    bucket, key, _ = filesystem.split_path(path)
    asked: dict[str, Any] = {"Bucket": bucket, "Prefix": f"{key}/" if key else ""}
    while True:
        answer = filesystem.call_s3("list_multipart_uploads", **asked)
        for upload in answer.get("Uploads", ()):
            yield Upload(f"s3://{bucket}/{upload['Key']}", upload["UploadId"], upload["Initiated"])
        if not answer.get("IsTruncated"):
            return
        asked |= {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer.get("NextUploadIdMarker", "")}


def size_of(upload: Upload, store: Store) -> int:
    """Bytes that have arrived.

    Raises:
        FileNotFoundError: it is over.
    """
    filesystem, asked = _asked(upload, store)
    size = 0
    while True:
        answer = filesystem.call_s3("list_parts", **asked)
        size += sum(part["Size"] for part in answer.get("Parts", ()))
        if not answer.get("IsTruncated"):
            return size
        asked |= {"PartNumberMarker": answer["NextPartNumberMarker"]}


def abort(upload: Upload, store: Store) -> None:
    """End an upload; its parts are gone then. One that is over already is no error."""
    filesystem, asked = _asked(upload, store)
    try:
        filesystem.call_s3("abort_multipart_upload", **asked)
    except FileNotFoundError:
        return


def _asked(upload: Upload, store: Store) -> tuple[Any, dict[str, Any]]:
    filesystem, path = store.filesystem(upload.url)
    bucket, key, _ = filesystem.split_path(path)
    return filesystem, {"Bucket": bucket, "Key": key, "UploadId": upload.upload_id}

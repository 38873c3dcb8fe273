"""Settings of the files service."""

from __future__ import annotations

from jobyard_common.settings import CommonSettings
from pydantic import Field

MIB, GIB = 2**20, 2**30


class Settings(CommonSettings):
    """Only `main` reads them."""

    max_upload_bytes: int = Field(10 * GIB, ge=1, le=2**50, description="Largest file, in bytes.")
    upload_life_s: float = Field(86_400, ge=1, description="Seconds from an upload's last byte to its expiry.")
    upload_idle_s: float = Field(60, ge=1, description="Seconds without a byte that end a body; its bytes are kept.")
    checkpoint_bytes: int = Field(16 * MIB, ge=1, description="Bytes after which a running body's offset is recorded.")
    max_open_uploads: int = Field(10_000, ge=1, description="Unfinished uploads of one tenant.")
    disk_floor_bytes: int = Field(256 * MIB, ge=0, description="Space that uploads leave free on the disk.")
    held_outputs_s: float = Field(86_400, ge=1, description="Outputs of attempts older than this are asked about.")
    unused_blob_s: float = Field(3_600, ge=1, description="A content that no file names is kept this long.")
    orphan_part_s: float = Field(86_400, ge=60, description="A part on disk without a row is kept this long.")
    orphan_blob_s: float = Field(7 * 86_400, ge=60, description="A content on disk without a row is kept this long.")
    tombstone_s: float = Field(30 * 86_400, ge=1, description="Deleted files answer 410 for this long, then 404.")
    sweep_every_s: float = Field(60, gt=0, description="Pause between sweeps.")
    io_threads: int = Field(8, ge=1, le=64, description="Threads that write, hash and read files.")

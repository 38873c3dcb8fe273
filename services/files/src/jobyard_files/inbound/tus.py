"""tus 1.0.0 over HTTP: headers in, use cases, headers out."""

from __future__ import annotations

from email.utils import format_datetime

from jobyard_common.http.internal import caller
from jobyard_common.http.problems import render
from starlette.requests import Request
from starlette.responses import Response

from jobyard_files.domain import tus
from jobyard_files.domain.file import File
from jobyard_files.domain.refusals import Refusal, Refused
from jobyard_files.handlers.append_upload import AppendUpload
from jobyard_files.handlers.create_upload import CreateUpload, Creation
from jobyard_files.handlers.delete_file import DeleteFile
from jobyard_files.handlers.locate_offset import LocateOffset
from jobyard_files.handlers.upload_run import Append
from jobyard_files.inbound.answers import Endpoint, cause_of, problem_of, public_base
from jobyard_files.inbound.body import RequestBody

RESUMABLE = {"Tus-Resumable": tus.VERSION, "X-Content-Type-Options": "nosniff"}
OVERRIDABLE = ("PATCH", "DELETE", "HEAD")


class TusEndpoints:
    """`max_size` in bytes is what `Tus-Max-Size` tells."""

    def __init__(
        self,
        *,
        create: CreateUpload,
        append: AppendUpload,
        locate: LocateOffset,
        delete: DeleteFile,
        max_size: int,
        public_url: str,
    ) -> None:
        self._create = create
        self._append = append
        self._locate = locate
        self._delete = delete
        self._max_size = max_size
        self._public_url = public_url

    async def options(self, _request: Request) -> Response:
        told = {
            "Tus-Version": tus.VERSION,
            "Tus-Extension": tus.EXTENSIONS,
            "Tus-Max-Size": str(self._max_size),
            "Tus-Checksum-Algorithm": ",".join(tus.CHECKSUMS),
        }
        return Response(status_code=204, headers=RESUMABLE | told)

    async def post(self, request: Request) -> Response:
        """Creation, with the first bytes in the same request if its body has the type of a PATCH."""
        size = tus.length_of(
            one(request, "upload-length"), one(request, "upload-defer-length"), max_size=self._max_size
        )
        header = ",".join(request.headers.getlist("upload-metadata"))
        metadata = tus.metadata(header)
        with_bytes = _brings_bytes(request)
        length = _content_length(request)
        if with_bytes and size is not None and length is not None and length > size:
            raise Refused(Refusal.TOO_LARGE, "The body is longer than Upload-Length.")
        checksum = tus.checksum(one(request, "upload-checksum")) if with_bytes else None
        who, cause = caller(request), cause_of(request)
        order = Creation(tenant=who.tenant, cause=cause, size=size, metadata=metadata, header=header)
        file = await self._create(order)
        told = {"Location": f"{public_base(request, self._public_url)}/v1/files/{file.id}"} | _expires(file)
        if with_bytes:
            first = Append(tenant=who.tenant, file_id=file.id, offset=0, length=length, checksum=checksum)
            try:
                done = await self._append(first, RequestBody(request.receive))
            except Refused:
                # Nobody knows the address of this upload, so nobody could go on with it.
                await self._delete(tenant=who.tenant, file_id=file.id, cause=cause)
                raise
            told["Upload-Offset"] = str(done.received)
        return Response(status_code=201, headers=RESUMABLE | told)

    async def head(self, request: Request) -> Response:
        file = await self._locate(tenant=caller(request).tenant, file_id=request.path_params["file_id"])
        told = {"Upload-Offset": str(file.received), "Cache-Control": "no-store"} | _expires(file)
        if file.size is None:
            told["Upload-Defer-Length"] = "1"
        else:
            told["Upload-Length"] = str(file.size)
        if file.upload_metadata:
            told["Upload-Metadata"] = file.upload_metadata
        return Response(status_code=200, headers=RESUMABLE | told)

    async def patch(self, request: Request) -> Response:
        if request.headers.get("content-type", "").strip().lower() != tus.OCTETS:
            raise Refused(Refusal.MEDIA_TYPE, f"A PATCH has the Content-Type {tus.OCTETS}.")
        _refuse_encoding(request)
        offset = one(request, "upload-offset")
        if offset is None:
            raise tus.malformed("Upload-Offset is missing.")
        total = one(request, "upload-length")
        order = Append(
            tenant=caller(request).tenant,
            file_id=request.path_params["file_id"],
            offset=tus.number("Upload-Offset", offset),
            length=_content_length(request),
            total=None if total is None else tus.number("Upload-Length", total),
            checksum=tus.checksum(one(request, "upload-checksum")),
        )
        done = await self._append(order, RequestBody(request.receive))
        told = {"Upload-Offset": str(done.received)}
        if done.expires_at is not None:
            told["Upload-Expires"] = format_datetime(done.expires_at, usegmt=True)
        return Response(status_code=204, headers=RESUMABLE | told)

    async def delete(self, request: Request) -> Response:
        await self._delete(
            tenant=caller(request).tenant, file_id=request.path_params["file_id"], cause=cause_of(request)
        )
        return Response(status_code=204, headers=RESUMABLE)


def spoken(endpoint: Endpoint, *, required: bool = True) -> Endpoint:
    """Answer only those who speak this version of tus; refusals name the version too.

    `required` False lets callers pass who do not speak tus at all.
    """

    async def answer(request: Request) -> Response:
        try:
            version = request.headers.get("tus-resumable")
            if version != tus.VERSION and (required or version is not None):
                detail = f"Send Tus-Resumable: {tus.VERSION}."
                raise Refused(Refusal.TUS_VERSION, detail, headers={"Tus-Version": tus.VERSION})
            return await endpoint(request)
        except Refused as refused:
            refused.headers.update(RESUMABLE)
            return render(problem_of(refused), instance=request.url.path)

    return answer


def one(request: Request, name: str) -> str | None:
    """The only value of a header.

    Raises:
        Refused: it came twice, so whoever reads it may read another value than we do.
    """
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise tus.malformed(f"{name} came {len(values)} times.")
    return values[0].strip() if values else None


def _content_length(request: Request) -> int | None:
    text = one(request, "content-length")
    return None if text is None else tus.number("Content-Length", text)


def _brings_bytes(request: Request) -> bool:
    kind = request.headers.get("content-type", "").strip().lower()
    if kind == tus.OCTETS:
        _refuse_encoding(request)
        return True
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        raise Refused(Refusal.MEDIA_TYPE, f"A creation has no body, or one of type {tus.OCTETS}.")
    return False


def _refuse_encoding(request: Request) -> None:
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused(Refusal.MEDIA_TYPE, "A compressed body is never unpacked here; send the bytes as they are.")


def _expires(file: File) -> dict[str, str]:
    return {} if file.expires_at is None else {"Upload-Expires": format_datetime(file.expires_at, usegmt=True)}

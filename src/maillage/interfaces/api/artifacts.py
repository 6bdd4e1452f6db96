"""Artifacts: bytes under the name of their digest, streamed to and from the store, never held whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import IO, Annotated, Any

from fastapi import Path, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from maillage.access.roles import Action
from maillage.control.archives import entries, read_entry
from maillage.control.artifacts import ArtifactStore, Upload
from maillage.errors import Invalid, NotFound, TooLarge
from maillage.interfaces.api import shapes
from maillage.interfaces.api.answers import JsonAnswer
from maillage.interfaces.api.authorise import Caller, needs
from maillage.interfaces.api.limits import ARTIFACT_MAX_BYTES
from maillage.interfaces.api.routers import api_router

router = api_router("artifacts")

Writer = Annotated[Caller, needs(Action.ARTIFACT_WRITE)]
Fetcher = Annotated[Caller, needs(Action.ARTIFACT_READ)]
JobReader = Annotated[Caller, needs(Action.JOB_READ)]
Digest = Annotated[str, Path(pattern="^sha256:[0-9a-f]{64}$", examples=["sha256:" + "0" * 64])]

_BLOCK = 1024 * 1024
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.put(
    "/artifacts/{digest}",
    status_code=201,
    response_model=shapes.Stored,
    operation_id="putArtifact",
    openapi_extra=_UPLOAD,
)
async def put(digest: Digest, request: Request, caller: Writer) -> JsonAnswer:
    """Store bytes under their SHA-256. They count only when they are what the name says; 2 GiB at most."""
    store = caller.parts.service.artifacts
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > ARTIFACT_MAX_BYTES:
        raise TooLarge(f"an artifact may have {ARTIFACT_MAX_BYTES} bytes; this one has {declared}")
    there = await run_in_threadpool(store.size, digest)
    if there is not None and declared == str(there):
        await _drain(request)
        return JsonAnswer({"digest": digest, "size": there}, status_code=201)
    upload = await run_in_threadpool(store.begin, digest, ARTIFACT_MAX_BYTES)
    try:
        await _receive(request, upload)
        size = await run_in_threadpool(upload.commit)
    except ClientDisconnect:
        await run_in_threadpool(upload.abort)
        raise Invalid("the connection was lost in the middle of the artifact: send it again") from None
    except BaseException:
        await asyncio.shield(run_in_threadpool(upload.abort))
        raise
    return JsonAnswer({"digest": digest, "size": size}, status_code=201)


@router.head("/artifacts/{digest}", operation_id="headArtifact")
async def head(digest: Digest, caller: Fetcher) -> Response:
    """Whether the artifact is here, and how long it is."""
    size = await run_in_threadpool(caller.parts.service.artifacts.size, digest)
    if size is None:
        raise NotFound(f"no artifact {digest} here")
    return Response(headers={"Content-Length": str(size)}, media_type="application/octet-stream")


@router.get(
    "/artifacts/{digest}", operation_id="getArtifact", response_class=StreamingResponse, responses=_BYTES
)
async def get(digest: Digest, caller: Fetcher) -> StreamingResponse:
    """The artifact's bytes."""
    store = caller.parts.service.artifacts
    size = await run_in_threadpool(store.size, digest)
    file = await run_in_threadpool(store.open, digest)
    return _stream(file, file, size or 0)


@router.get("/jobs/{job}/outputs", response_model=shapes.Outputs, operation_id="listOutputs", tags=["jobs"])
async def outputs(job: str, caller: JobReader) -> JsonAnswer:
    """What the job wrote into its output folder and kept."""
    digest = await _output(job, caller)
    files = await run_in_threadpool(_entries, caller.parts.service.artifacts, digest)
    return JsonAnswer({"artifact": digest, "files": [{"path": path, "size": size} for path, size in files]})


@router.get(
    "/jobs/{job}/outputs/{path:path}",
    operation_id="getOutput",
    tags=["jobs"],
    response_class=StreamingResponse,
    responses=_BYTES,
)
async def output(job: str, path: str, caller: JobReader) -> StreamingResponse:
    """One file of a job's outputs."""
    digest = await _output(job, caller)
    file = await run_in_threadpool(caller.parts.service.artifacts.open, digest)
    try:
        size, entry = await run_in_threadpool(read_entry, file, path)
    except BaseException:
        file.close()
        raise
    return _stream(file, entry, size)


async def _output(ref: str, caller: Caller) -> str:
    job = await caller.job(ref, Action.JOB_READ)
    digest = str((job.get("outputs") or {}).get("artifact") or "")
    if not digest:
        raise NotFound(f"job {job['id']} has kept no outputs (it is {job['state']})")
    return digest


def _entries(store: ArtifactStore, digest: str) -> tuple[tuple[str, int], ...]:
    with store.open(digest) as file:
        return entries(file)


async def _receive(request: Request, upload: Upload) -> None:
    """Hand the body over in blocks, so that a thread is asked once a megabyte."""
    block = bytearray()
    async for data in request.stream():
        block += data
        if len(block) >= _BLOCK:
            await run_in_threadpool(upload.write, bytes(block))
            block.clear()
    if block:
        await run_in_threadpool(upload.write, bytes(block))


async def _drain(request: Request) -> None:
    async for _ in request.stream():
        pass


def _stream(owner: IO[bytes], source: IO[bytes], size: int) -> StreamingResponse:
    async def blocks() -> AsyncIterator[bytes]:
        try:
            while data := await run_in_threadpool(source.read, _BLOCK):
                yield data
        finally:
            owner.close()

    headers = {"Content-Length": str(size), "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(blocks(), media_type="application/octet-stream", headers=headers)

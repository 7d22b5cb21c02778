"""What the server counts and times, for Prometheus. Names and labels are an interface: they stay."""

from __future__ import annotations

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

BUILDS = Counter("rapidflow_builds", "Builds that ended since the server started.", ["result"])
STEP_SECONDS = Histogram(
    "rapidflow_step_seconds",
    "Duration of steps that ended.",
    ["result"],
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400),
)
WAITED_SECONDS = Histogram(
    "rapidflow_wait_seconds",
    "Time that builds waited for a slot.",
    buckets=(0.01, 0.1, 1, 5, 15, 60, 300, 900, 3600),
)
RUNNING = Gauge("rapidflow_running_builds", "Builds that run now.")
QUEUED = Gauge("rapidflow_queued_builds", "Builds that wait now.")
QUEUE_AGE = Gauge("rapidflow_queue_age_seconds", "For how long the oldest build has been waiting.")
FOLLOWERS = Gauge("rapidflow_followers", "Streams that are being sent now.")
LOG_BYTES = Counter("rapidflow_log_bytes", "Bytes that were written to logs.")
SENT_BYTES = Counter("rapidflow_stream_bytes", "Bytes of logs that were given to streams.")
LOOP_LAG = Histogram(
    "rapidflow_loop_lag_seconds",
    "How late the event loop was, twenty times a second.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
LOOP_STALLS = Counter(
    "rapidflow_loop_stalls",
    "How often the event loop did not turn for over 100 ms: busy, or blocked in a call.",
    ["kind"],
)
READY = Gauge("rapidflow_ready", "1 while this part is well, 0 while it is not.", ["part"])
DRAINING = Gauge("rapidflow_draining", "1 while the server starts no more builds because it is to end.")

for _result in ("success", "failed", "cancelled"):
    BUILDS.labels(_result)  # so that it is 0 and not absent before the first one
for _kind in ("busy", "blocked"):
    LOOP_STALLS.labels(_kind)


def exposition() -> bytes:
    """All of it, in the text format of Prometheus."""
    return generate_latest(REGISTRY)

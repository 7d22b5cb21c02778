"""The Prometheus metrics. Names and labels are an interface: they stay."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

BUILDS = Counter("rapidflow_builds", "Total builds finished since the server started.", ["result"])
STEP_SECONDS = Histogram(
    "rapidflow_step_seconds",
    "Duration of finished steps in seconds.",
    ["result"],
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400),
)
WAITED_SECONDS = Histogram(
    "rapidflow_wait_seconds",
    "Time builds spent in the queue, in seconds.",
    buckets=(0.01, 0.1, 1, 5, 15, 60, 300, 900, 3600),
)
RUNNING = Gauge("rapidflow_running_builds", "Current number of running builds.")
QUEUED = Gauge("rapidflow_queued_builds", "Queued builds, without those that wait for an approval.")
QUEUE_AGE = Gauge("rapidflow_queue_age_seconds", "Age of the oldest queued build in seconds.")
FOLLOWERS = Gauge("rapidflow_followers", "Current number of open log streams.")
LOG_BYTES = Counter("rapidflow_log_bytes", "Total bytes written to logs.")
SENT_BYTES = Counter("rapidflow_stream_bytes", "Total bytes sent to log streams.")
CACHED = Counter("rapidflow_cached_responses", "Total responses served from the response cache.")
LOOP_LAG = Histogram(
    "rapidflow_loop_lag_seconds",
    "Event loop lag in seconds, sampled twenty times a second under load, and once a second at rest.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
LOOP_STALLS = Counter(
    "rapidflow_loop_stalls",
    "Total event loop stalls over 100 ms, by kind: busy, or blocked in a call.",
    ["kind"],
)
CONTAINERS = Counter(
    "rapidflow_build_containers",
    "Total containers that builds were given, by how: parked, or created for the build.",
    ["origin"],
)
PARKED = Gauge("rapidflow_parked_containers", "Current number of containers that wait for a build.")
READY = Gauge("rapidflow_ready", "Whether this part is ready (1) or not (0).", ["part"])
DRAINING = Gauge(
    "rapidflow_draining", "Whether the server is draining (1): it shuts down after running builds."
)

SENT = Counter(
    "rapidflow_messages",
    "Total attempts to send commit statuses and notifications, by result: sent, failed (tried again) or "
    "given_up.",
    ["kind", "result"],
)
_OF_NODES = (
    Gauge(
        "rapidflow_node_running_builds", "Current number of builds that take a slot of the node.", ["node"]
    ),
    Gauge("rapidflow_node_slots", "Number of builds that the node runs at once.", ["node"]),
    Gauge("rapidflow_node_parked_containers", "Containers on the node that wait for a build.", ["node"]),
    Gauge("rapidflow_node_reachable", "Whether the node's engine answers (1) or not (0).", ["node"]),
)
UNSENT = Gauge("rapidflow_unsent_messages", "Current number of messages that are to be sent.", ["kind"])

for _result in ("success", "failed", "cancelled"):
    BUILDS.labels(_result)  # so that it is 0 and not absent before the first one
for _origin in ("parked", "created"):
    CONTAINERS.labels(_origin)
for _kind in ("busy", "blocked"):
    LOOP_STALLS.labels(_kind)
for _kind in ("status", "notification"):
    for _result in ("sent", "failed", "given_up"):
        SENT.labels(_kind, _result)


def note_nodes(nodes: Mapping[str, tuple[int, int, int, bool]]) -> None:
    """Sets what is said of each node, by its name: slots taken, slots, containers parked, if it answers."""
    for index, gauge in enumerate(_OF_NODES):
        gauge.clear()
        for name, values in nodes.items():
            gauge.labels(name).set(values[index])


def exposition() -> bytes:
    """All of it, in the text format of Prometheus."""
    return generate_latest(REGISTRY)

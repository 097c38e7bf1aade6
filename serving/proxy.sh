#!/bin/sh
# HAProxy for Ray Serve, which starts it as `haproxy -db -f CONFIG ...` and finds this script by
# RAY_SERVE_HAPROXY_BINARY_PATH (serving/proxy.py). Ray has written CONFIG and, beside it, the page
# for requests that no replica answered. Changed before HAProxy reads them:
# - that page says 503 and when to come again, not 500, which nobody may send again;
# - a 503 of Ray's own says when to come again;
# - while it does not know of any replica yet it says the same, not 404;
# - feedback is never sent to a second replica: the first may have written it down;
# - the ports for statistics and metrics listen where the server does, if that is the loopback.
set -eu

config=
previous=
for argument in "$@"; do
    [ "$previous" = -f ] && config=$argument
    previous=$argument
done

if [ -n "$config" ]; then
    body='{"error":"unavailable","detail":"no replica answered; send the request again"}'
    printf 'HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %s\r\nRetry-After: %s\r\n\r\n%s' \
        "${#body}" "$POTLUCK_RETRY_AFTER_S" "$body" > "$(dirname "$config")/500.http"
    sed -i \
        -e "/^frontend http_frontend/a\\    http-after-response set-header retry-after $POTLUCK_RETRY_AFTER_S if { status 503 } !{ res.hdr(retry-after) -m found }" \
        -e '/^frontend http_frontend/a\    http-request disable-l7-retry if { path_beg /v1/feedback }' \
        "$config"
    if ! grep -q '^    use_backend ' "$config"; then
        sed -i -e "s|^    http-request return status 404 .*|    http-request return status 503 content-type application/json string '$body'|" "$config"
    fi
    if grep -q '^    bind 127\.0\.0\.1:' "$config"; then
        sed -i -e 's/^\( *bind \)\*\{0,1\}:\([0-9]*\)$/\1127.0.0.1:\2/' "$config"
    fi
fi
exec "$POTLUCK_HAPROXY" "$@"

# shellcheck shell=bash disable=SC2154 # `sources` and `installed` come from lib.sh
#
# What the two peers in Python share: a private environment made from requirements.txt.

peer_pins() { printf '%s\n' "$sources/requirements.txt"; }

peer_install() {
    python3 -m venv "$1/python"
    "$1/python/bin/pip" install --quiet --disable-pip-version-check --no-deps \
        --requirement "$sources/requirements.txt"
    "$1/python/bin/pip" check --disable-pip-version-check
}

peer_environment() {
    export PYTHONPATH=$sources:$peers_sources PYTHONDONTWRITEBYTECODE=1
}

peer_enqueue() { "$installed/python/bin/python" "$sources/jobs.py" enqueue "$1"; }

peer_idle() {
    timeout "$IDLE_SECONDS_MAX" "$installed/python/bin/python" "$sources/jobs.py" idle "$1"
}

# package_version NAME
package_version() {
    "$installed/python/bin/python" -c \
        'import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))' "$1"
}

# shellcheck shell=bash disable=SC2154 # `sources` and `installed` come from lib.sh
# shellcheck source=benches/peers/python.sh
source "$peers_sources/python.sh"

peer_version() { package_version celery; }

peer_processes() { printf '%s\n' "${PEERS_PROCESSES:-$(nproc)}"; }

# Workers must differ by name. Each one carries out its jobs itself: faster for small jobs than the
# default pool, whose parent hands every job to a child.
peer_worker() {
    become "$installed/python/bin/celery" --app jobs worker \
        --pool solo --hostname "worker-$BASHPID@%h" --loglevel WARNING
}

# shellcheck shell=bash disable=SC2154 # `sources` and `installed` come from lib.sh
# shellcheck source=benches/peers/python.sh
source "$peers_sources/python.sh"

# Its default, twice the threads, leaves the threads waiting for the next fetch.
readonly DRAMATIQ_PREFETCH=500

peer_version() { package_version dramatiq; }

# One parent, which starts the worker processes itself.
peer_processes() { printf '1\n'; }

peer_worker() {
    export dramatiq_queue_prefetch=$DRAMATIQ_PREFETCH
    become "$installed/python/bin/dramatiq" --processes "${PEERS_PROCESSES:-$(nproc)}" jobs
}

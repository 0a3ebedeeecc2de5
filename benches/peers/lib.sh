# shellcheck shell=bash
#
# What `install`, `run` and `all` share. Each peer's folder has a `peer.sh` with these functions:
#
#   peer_pins              the list of pinned packages, as a path
#   peer_install FOLDER    installs that list into an empty folder
#   peer_environment       exports what its programs need to find their libraries
#   peer_version           prints the installed version
#   peer_processes         prints how often `run` starts peer_worker
#   peer_worker            becomes one worker process (or the parent of several)
#   peer_enqueue N         enqueues N jobs that do nothing
#   peer_idle N            enqueues N jobs one at a time; prints each one's latency in nanoseconds
#
# They find the peer's installed folder in `installed` and its sources in `sources`.

# shellcheck disable=SC2034 # read by the scripts that source this
readonly PEERS=(bullmq sidekiq celery dramatiq)
# The slowest takes about 20 s for its single jobs; a worker that died would be waited for for ever.
# shellcheck disable=SC2034
readonly IDLE_SECONDS_MAX=120
peers_sources=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peers_cache=${XDG_CACHE_HOME:-$HOME/.cache}/clearday-peers

say() { printf '%s\n' "peers: $*" >&2; }

refuse() {
    say "$*"
    exit 2
}

# choose_peer NAME: makes the functions of that peer the current ones.
choose_peer() {
    sources=$peers_sources/$1
    installed=$peers_cache/$1
    [[ -r $sources/peer.sh ]] || refuse "no such peer: $1 (there are: ${PEERS[*]})"
    # shellcheck disable=SC1091 # one of four, chosen at run time
    source "$sources/peer.sh"
}

# An installation is current when it was made from the list as it is now.
is_installed() { [[ $(cat "$installed/pins" 2>/dev/null) == "$(fingerprint)" ]]; }

fingerprint() { cksum <"$(peer_pins)"; }

# become CMD…: what peer_worker ends with. The worker leads a group of its own, so that its children
# can be ended with it, and is told to stop should `run` be killed before it can clean up.
become() { exec setsid setpriv --pdeathsig TERM "$@"; }

# is_count TEXT: a whole number from 1, without leading zeros.
is_count() { [[ $1 =~ ^[1-9][0-9]{0,8}$ ]]; }

# shellcheck shell=bash disable=SC2154 # `sources` and `installed` come from lib.sh

peer_pins() { printf '%s\n' "$sources/package.json"; }

peer_install() {
    cp "$sources/package.json" "$1/"
    npm install --prefix "$1" --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error
}

peer_environment() { export NODE_ENV=production NODE_PATH=$installed/node_modules; }

peer_version() { node -p 'require("bullmq/package.json").version'; }

# One process of Node and Redis' own thread fill two cores between them.
peer_processes() { printf '%s\n' "${PEERS_PROCESSES:-1}"; }

peer_worker() { become node "$sources/jobs.js" work; }

peer_enqueue() { node "$sources/jobs.js" enqueue "$1"; }

peer_idle() { timeout "$IDLE_SECONDS_MAX" node "$sources/jobs.js" idle "$1"; }

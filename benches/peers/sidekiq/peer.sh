# shellcheck shell=bash disable=SC2154 # `sources` and `installed` come from lib.sh

peer_pins() { printf '%s\n' "$sources/packages.txt"; }

# Unpacked, not installed: needs no root and leaves the machine as it is.
peer_install() {
    local packages file
    mapfile -t packages < <(grep -v '^#' "$sources/packages.txt")
    # A machine without package lists has to fetch them first, which only root may.
    (cd "$1" && apt-get download -qq "${packages[@]}") || {
        apt-get update -qq
        (cd "$1" && apt-get download -qq "${packages[@]}")
    }
    for file in "$1"/*.deb; do
        dpkg-deb --extract "$file" "$1"
        rm "$file"
    done
}

# Debian keeps what is compiled in a folder named after the machine.
peer_environment() {
    local compiled libraries
    compiled=$(printf '%s\n' "$installed"/usr/lib/*-linux-gnu*)
    libraries=$(printf '%s:' "$installed"/usr/share/rubygems-integration/all/gems/*/lib \
        "$installed"/usr/lib/ruby/{vendor_ruby,3.1.0} "$compiled"/ruby/{vendor_ruby/,}3.1.0)
    export RUBYLIB=${libraries%:} LD_LIBRARY_PATH=$compiled
    ruby=$installed/usr/bin/ruby3.1
}

peer_version() { "$ruby" -r sidekiq/version -e 'puts Sidekiq::VERSION'; }

peer_processes() { printf '%s\n' "${PEERS_PROCESSES:-$(nproc)}"; }

peer_worker() { become "$ruby" "$sources/jobs.rb" work; }

peer_enqueue() { "$ruby" "$sources/jobs.rb" enqueue "$1"; }

peer_idle() { timeout "$IDLE_SECONDS_MAX" "$ruby" "$sources/jobs.rb" idle "$1"; }

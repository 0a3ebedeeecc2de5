# shellcheck shell=bash
#
# Private Postgres and Redis servers for as long as one script runs. Source this file, then:
#
#   start_servers          finds (or installs) both servers, starts what the environment does not
#                          name already, exports the variables below, and arms the clean-up
#   run_command CMD ARG…   runs a command so that Ctrl-C and SIGTERM reach it; gives its exit code
#
# The clean-up stops every server by process id and removes the folder, whichever way the script
# ends. Nothing outside that folder is written and nothing listens beyond 127.0.0.1.
#
# Exported, and kept if already set (then that running server is used and left alone):
#   CLEARDAY_TEST_DATABASE_URL        postgres://…/postgres, a role that may create databases
#   CLEARDAY_TEST_REDIS_URL           redis://…
# Exported for the tests that start, restart and kill throw-away servers of their own:
#   CLEARDAY_TEST_POSTGRES_BIN        folder of `postgres` and `initdb`
#   CLEARDAY_TEST_REDIS_SERVER        path of `redis-server`
#   CLEARDAY_TEST_POSTGRES_TEMPLATE   an initialised cluster to copy, because initdb takes seconds
#   CLEARDAY_TEST_SCRATCH             where they keep their data; the clean-up ends strays in here
# Read:
#   CLEARDAY_TEST_DURABLE=1           Postgres waits for the disk, as benchmarks need it

# Ports are drawn below the range the kernel hands to outgoing connections (32768 and up), so a
# server that is restarted on its port does not find it lent to somebody else meanwhile.
readonly FIRST_PORT=20000
readonly PORT_COUNT=12000
readonly START_TRIES=5
# A cold machine with both cores busy starts Postgres in about 3 s; 30 s means it never will.
readonly START_TENTHS_MAX=300

servers_folder=''
postgres_pid=''
redis_pid=''
command_pid=''
# Postgres refuses to run as root: then the account it runs as, and how `setpriv` is told.
postgres_account=''
as_postgres=()

say() { printf '%s\n' "servers: $*" >&2; }

# --- finding and installing -----------------------------------------------------------------

find_postgres_bin() {
    local found
    if [[ -n ${CLEARDAY_TEST_POSTGRES_BIN:-} ]]; then
        found=$CLEARDAY_TEST_POSTGRES_BIN
    elif found=$(command -v initdb); then
        # Postgres looks for its files beside the real binary, so links are followed.
        found=$(dirname "$(readlink -f "$found")")
    else
        # Debian keeps server binaries out of PATH, one folder per major version: the newest.
        found=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null |
            sort -V | tail -n 1) || true
    fi
    [[ -x $found/initdb && -x $found/postgres ]] && printf '%s\n' "$found"
}

find_redis_server() {
    local found
    found=${CLEARDAY_TEST_REDIS_SERVER:-$(command -v redis-server)} || true
    [[ -x $found ]] && printf '%s\n' "$found"
}

find_or_install() {
    local missing=()
    find_postgres_bin >/dev/null || missing+=(postgresql)
    find_redis_server >/dev/null || missing+=(redis-server)
    if ((${#missing[@]} > 0)); then
        install_packages "${missing[@]}" || refuse_without "${missing[@]}"
    fi
    CLEARDAY_TEST_POSTGRES_BIN=$(find_postgres_bin) || refuse_without postgresql
    CLEARDAY_TEST_REDIS_SERVER=$(find_redis_server) || refuse_without redis-server
    export CLEARDAY_TEST_POSTGRES_BIN CLEARDAY_TEST_REDIS_SERVER
}

install_packages() {
    command -v apt-get >/dev/null || return 1
    local as_root=()
    if ((EUID != 0)); then
        sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    say "installing Debian's $*"
    # Debian starts a server as soon as it is installed. policy-rc.d with exit code 101 is its
    # documented way to forbid that; an administrator's own policy is left as it is.
    # shellcheck disable=SC2016 # expanded by the root shell
    "${as_root[@]}" bash -c '
        set -euo pipefail
        policy=/usr/sbin/policy-rc.d
        if [[ ! -e $policy ]]; then
            trap "rm -f $policy" EXIT
            printf "#!/bin/sh\nexit 101\n" >"$policy"
            chmod 755 "$policy"
        fi
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
    ' bash "$@" </dev/null >&2
}

refuse_without() {
    cat >&2 <<MESSAGE
servers: not found and not installable from here: $*

Install Debian's packages as root:

    apt-get update && apt-get install postgresql redis-server

or name what you have: CLEARDAY_TEST_POSTGRES_BIN=<folder of initdb and postgres> and
CLEARDAY_TEST_REDIS_SERVER=<path of redis-server>. They are needed even where
CLEARDAY_TEST_DATABASE_URL and CLEARDAY_TEST_REDIS_URL name running servers, because some tests
restart and kill a server of their own.
MESSAGE
    exit 2
}

# --- starting -------------------------------------------------------------------------------

start_servers() {
    find_or_install
    trap 'stop_servers' EXIT
    trap 'end_command INT; exit 130' INT
    trap 'end_command TERM; exit 143' TERM
    trap 'end_command HUP; exit 129' HUP
    choose_account
    make_folder
    make_template
    if [[ -z ${CLEARDAY_TEST_DATABASE_URL:-} ]]; then start_postgres; fi
    if [[ -z ${CLEARDAY_TEST_REDIS_URL:-} ]]; then start_redis; fi
    export CLEARDAY_TEST_DATABASE_URL CLEARDAY_TEST_REDIS_URL
}

choose_account() {
    if ((EUID != 0)); then return 0; fi
    postgres_account=postgres
    id -u "$postgres_account" >/dev/null 2>&1 || postgres_account=nobody
    as_postgres=("--reuid=$postgres_account" "--regid=$(id -g "$postgres_account")" --init-groups)
}

make_folder() {
    servers_folder=$(mktemp -d -t clearday-servers.XXXXXX)
    chmod 755 "$servers_folder"
    # TMPDIR may lie where the account of Postgres may not go (below root's home, say).
    if ! setpriv "${as_postgres[@]}" test -x "$servers_folder"; then
        rmdir "$servers_folder"
        servers_folder=$(TMPDIR=/tmp mktemp -d -t clearday-servers.XXXXXX)
        chmod 755 "$servers_folder"
    fi
    mkdir -m 755 "$servers_folder/scratch" "$servers_folder/redis"
    export CLEARDAY_TEST_SCRATCH=$servers_folder/scratch
}

make_template() {
    local template=$servers_folder/template
    mkdir -m 700 "$template"
    if [[ -n $postgres_account ]]; then chown "$postgres_account:" "$template"; fi
    if ! setpriv "${as_postgres[@]}" "$CLEARDAY_TEST_POSTGRES_BIN/initdb" \
        --pgdata="$template" --username=postgres --auth=trust --encoding=UTF8 --locale=C --no-sync \
        >"$servers_folder/initdb.log" 2>&1; then
        cat "$servers_folder/initdb.log" >&2
        return 1
    fi
    # `fsync = off` and `full_page_writes = off`: these promise what survives a power cut, and no
    # test pulls the plug. `synchronous_commit` stays on, because tests do kill the server's
    # process, and what was committed before that must be there afterwards.
    # 300 connections: four tests at a time, some with a hundred claimers of their own.
    # No Unix socket: the path of a temporary folder can be longer than a socket's may be.
    cat >>"$template/postgresql.conf" <<'CONF'
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 300
timezone = 'UTC'
log_timezone = 'UTC'
CONF
    # Benchmarks ask for what production pays.
    if [[ ${CLEARDAY_TEST_DURABLE:-} != 1 ]]; then
        printf 'fsync = off\nfull_page_writes = off\n' >>"$template/postgresql.conf"
    fi
    export CLEARDAY_TEST_POSTGRES_TEMPLATE=$template
}

start_postgres() {
    local data=$servers_folder/postgres log=$servers_folder/postgres.log port
    cp -a "$CLEARDAY_TEST_POSTGRES_TEMPLATE" "$data"
    for ((try = 1; try <= START_TRIES; try++)); do
        port=$(free_port)
        start_apart QUIT "$log" "${as_postgres[@]}" \
            "$CLEARDAY_TEST_POSTGRES_BIN/postgres" -D "$data" -p "$port"
        postgres_pid=$started_pid
        if wait_until "$postgres_pid" postgres_is_ready "$data"; then
            CLEARDAY_TEST_DATABASE_URL=postgres://postgres@127.0.0.1:$port/postgres
            say "Postgres at $CLEARDAY_TEST_DATABASE_URL"
            return
        fi
        end_server QUIT "$postgres_pid"
    done
    say "Postgres did not start:"
    cat "$log" >&2
    return 1
}

start_redis() {
    local folder=$servers_folder/redis log=$servers_folder/redis.log port
    for ((try = 1; try <= START_TRIES; try++)); do
        port=$(free_port)
        start_apart KILL "$log" "$CLEARDAY_TEST_REDIS_SERVER" --bind 127.0.0.1 --port "$port" \
            --dir "$folder" --save '' --appendonly no
        redis_pid=$started_pid
        if wait_until "$redis_pid" redis_is_ready "$port" "$redis_pid"; then
            CLEARDAY_TEST_REDIS_URL=redis://127.0.0.1:$port/
            say "Redis at $CLEARDAY_TEST_REDIS_URL"
            return
        fi
        end_server TERM "$redis_pid"
    done
    say "Redis did not start:"
    cat "$log" >&2
    return 1
}

# start_apart SIGNAL LOG [SETPRIV-OPTION…] CMD…: starts a server in a session of its own, so that a
# Ctrl-C meant for the tests does not take their servers away first, and has the kernel send it
# SIGNAL should this script be killed before it can clean up. Its process id is in `started_pid`.
start_apart() {
    local signal=$1 log=$2
    shift 2
    setsid setpriv --pdeathsig "$signal" "$@" </dev/null >>"$log" 2>&1 &
    started_pid=$!
}

# The eighth line of the file in its own data folder: no other server can write that.
postgres_is_ready() {
    [[ $(sed -n 8p "$1/postmaster.pid" 2>/dev/null) == ready* ]]
}

# Asks who answers: another server may have taken the port between our look and our start.
redis_is_ready() {
    local port=$1 pid=$2
    {
        exec 3<>"/dev/tcp/127.0.0.1/$port" &&
            printf 'INFO server\r\nQUIT\r\n' >&3 &&
            timeout 5 grep -q "^process_id:$pid" <&3
    } 2>/dev/null
    local answered=$?
    exec 3>&-
    return "$answered"
}

# wait_until PID CHECK ARG…: true once the check holds, false when the process ended or time is up.
wait_until() {
    local pid=$1
    shift
    for ((tenth = 0; tenth < START_TENTHS_MAX; tenth++)); do
        if "$@"; then return 0; fi
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

free_port() {
    local port
    while true; do
        port=$((FIRST_PORT + RANDOM % PORT_COUNT))
        # Nobody listens there if connecting fails.
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            printf '%s\n' "$port"
            return
        fi
    done
}

# --- running --------------------------------------------------------------------------------

# In the background and waited for, because bash handles a signal at once only while it waits.
# The subshell takes back what bash does to background commands: ignored Ctrl-C, no input.
run_command() {
    local code=0
    (
        trap - INT QUIT TERM HUP EXIT
        exec "$@"
    ) <&0 &
    command_pid=$!
    wait "$command_pid" || code=$?
    command_pid=''
    return "$code"
}

# end_command SIGNAL: passes the signal on and waits, so that the command can end its own children
# while the servers they talk to are still there.
end_command() {
    if [[ -z $command_pid ]]; then return 0; fi
    # Ctrl-C reached the command already: the terminal sends it to the whole group.
    if [[ $1 != INT ]]; then kill -s "$1" "$command_pid" 2>/dev/null || true; fi
    wait "$command_pid" || true
    command_pid=''
}

# --- stopping -------------------------------------------------------------------------------

stop_servers() {
    trap '' INT TERM HUP
    # What cannot be ended must not keep the rest from being ended.
    set +e
    end_strays
    # SIGQUIT is Postgres' immediate shutdown: it ends its children and gives its memory back.
    if [[ -n $postgres_pid ]]; then end_server QUIT "$postgres_pid"; fi
    if [[ -n $redis_pid ]]; then end_server TERM "$redis_pid"; fi
    if [[ -n $servers_folder ]]; then rm -rf "$servers_folder"; fi
}

# end_server SIGNAL PID: ends one of our own children and waits until it is gone.
end_server() {
    kill -s "$1" "$2" 2>/dev/null || true
    for ((tenth = 0; tenth < 50; tenth++)); do
        kill -0 "$2" 2>/dev/null || break
        sleep 0.1
    done
    kill -s KILL "$2" 2>/dev/null || true
    wait "$2" 2>/dev/null || true
}

# Throw-away servers whose test was killed before it could end them. A process id from a file may
# belong to somebody else by now, so it must be at work in our folder, as both servers are.
end_strays() {
    local file
    for file in "$servers_folder"/scratch/*/data/postmaster.pid; do end_stray QUIT "$file"; done
    for file in "$servers_folder"/scratch/*/redis.pid; do end_stray TERM "$file"; done
}

end_stray() {
    local pid
    if ! [[ -r $2 ]] || ! read -r pid <"$2"; then return 0; fi
    if [[ $(readlink "/proc/$pid/cwd") == "$servers_folder/scratch/"* ]]; then
        say "ending a stray server, process $pid"
        end_server "$1" "$pid"
    fi
}

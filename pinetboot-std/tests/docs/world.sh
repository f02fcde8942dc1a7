# Runs the commands of a page one after the other: world.sh DIR PI, in a network namespace, with processes and mounts apart.
#
# DIR has srv/, mnt/ and etc/, which are /srv, /mnt and files in /etc here; PI is the namespace of the Pi. A server runs until the
# next one starts. Sourced by the script of the page, which then calls `run`.
set -uo pipefail
dir=$1 pi=$2 server=
mkdir -p "$dir"/{srv,mnt,etc,var,work,home,layers}
mount --make-rprivate /
mount --bind "$dir/srv" /srv
mount --bind "$dir/mnt" /mnt
mount --bind "$dir/var" /var/lib
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/work" /etc
export HOME=$dir/home PATH=$dir/bin:$PATH
cd "$dir" || exit 1

# stop: ends the server.
stop() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; }
    server=
}

# run PLACE SAYS COMMAND: runs a command, which has to succeed; a server has to print SAYS.
run() {
    local place=$1 says=$2 command=$3 line
    if [ -n "$says" ]; then
        stop
        mkfifo "$dir/out"
        bash -c "exec $command" >"$dir/out" 2>"$dir/err" </dev/null &
        server=$!
        exec 3<"$dir/out"
        rm "$dir/out"
        while read -r -t 300 line <&3; do
            case $line in "$says"*)
                echo "ok $place: $command"
                return
                ;;
            esac
        done
        echo "FAILED $place: no line \"$says\": $command"
        cat "$dir/err"
        exit 1
    fi
    if timeout 300 bash -o pipefail -c "$command" >"$dir/out" 2>&1 </dev/null; then
        echo "ok $place: $command"
    else
        echo "FAILED $place: exit code $?: $command"
        cat "$dir/out"
        [ -z "$server" ] || cat "$dir/err"
        exit 1
    fi
    rm -f "$dir/out"
}

# layer: the Pi bd989ae1 boots and writes a file to its root.
layer() {
    local file
    run setup "ready " "pinetboot serve --config /etc/pinetboot.toml"
    for file in config.txt kernel_2712.img; do
        ip netns exec "$pi" pinetboot get -q "tftp://10.77.0.1/bd989ae1/$file" -o /dev/null || exit 1
    done
    ip netns exec "$pi" nfs-cp "$dir/mine" "nfs://10.77.0.1/bd989ae1/etc/mine?version=3&uid=0&gid=0" || exit 1
    stop
}

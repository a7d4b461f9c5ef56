#!/bin/sh
# Restarts servers one by one while clients connect, and loses no connection.
#
#     PARES=target/release/pares sh examples/rolling_restart.sh 3 8080
#
# Starts as many servers as the first argument says, all on the port of the second, and replaces
# each: the new one first, then the old one is drained. A client connects all the while.
set -eu
pares=${PARES:-pares} count=${1:-3} port=${2:-8080}
export PARES_GROUP="${PARES_GROUP:-rolling}"

# It ends by SIGTERM after the answer that it is about to give.
server='import select, signal, socket, sys
ended, wake = socket.socketpair()
wake.setblocking(False)
signal.signal(signal.SIGTERM, lambda *_: None)
signal.set_wakeup_fd(wake.fileno())
listener = socket.socket(fileno=3)
listener.setblocking(False)
while ended not in select.select([listener, ended], [], [])[0]:
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        continue
    with connection:
        connection.sendall(sys.argv[1].encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)'
client='import collections, os, signal, socket, sys
served, lost, going = collections.Counter(), 0, True
def end(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, end)
print("connecting", file=open(sys.argv[2], "w"))
while going:
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30) as connection:
            answer = connection.makefile().readline().strip()
    except OSError:
        answer = ""
    served[answer] += 1
    lost += answer == ""
print(sum(served.values()), "connections to", len(served), "servers,", lost, "lost")'

running= ready=$(mktemp)
trap 'kill $running 2>/dev/null || :; rm -f "$ready"' EXIT # no server outlives a script that failed

start() {
    "$pares" run --name "$1" --listen "127.0.0.1:$port" -- python3 -c "$server" "$1" &
    running="$running $!"
    until "$pares" listeners 2>/dev/null | cut -f3 | grep -qx "$1"; do sleep 0.05; done
}
number=1
while [ "$number" -le "$count" ]; do
    start "old-$number"
    number=$((number + 1))
done
python3 -c "$client" "$port" "$ready" &
clients=$!
running="$running $clients"
until [ -s "$ready" ]; do kill -0 "$clients"; sleep 0.05; done
number=1
while [ "$number" -le "$count" ]; do
    start "new-$number"
    "$pares" drain "old-$number" >/dev/null
    number=$((number + 1))
done
sleep 1
kill "$clients"
wait "$clients"
number=1
while [ "$number" -le "$count" ]; do
    "$pares" drain "new-$number" >/dev/null
    number=$((number + 1))
done
wait
running=

#!/bin/bash
# redis-server on a UNIX socket: commands, pipelines, Lua; a snapshot by fork while keys change; a log that is rewritten,
# and replayed after kill -9. DEBUG DIGEST is a hash of the whole data.
set -e
dir=$(mktemp -d)
cd "$dir"
server=
trap 'kill -9 $server 2>/dev/null || true; rm -rf "$dir"' EXIT
cli() { redis-cli -s "$dir/socket" "$@"; }
start() { # FOLDER OPTION...
  mkdir -p "$1"
  redis-server --port 0 --unixsocket "$dir/socket" --enable-debug-command yes --save '' --dir "$dir/$1" "${@:2}" >>log &
  server=$!
  until [ "$(cli ping 2>/dev/null)" = PONG ]; do sleep 0.05; done
}
info() { cli info "$1" | tr -d '\r' | sed -n "s/^$2://p"; }
await() { until [ "$(info persistence "$1")" = 0 ]; do sleep 0.05; done; } # the end of a child's work

start data --appendonly yes
cli set greeting hello
cli append greeting ', world'
cli get greeting
cli incrbyfloat number 3.25
cli lpush list a b c
cli linsert list before b x
cli lrange list 0 -1
cli zadd scores 1 one 2 two 3 three
cli zrangebyscore scores '(1' +inf withscores
cli hset hash f1 v1 f2 v2
cli hgetall hash
cli xadd stream 5-1 field value
cli xrange stream - +
cli pfadd visitors {1..500}
cli pfcount visitors
cli setbit bits 100000 1
cli bitcount bits
cli get list || true
printf 'multi\nincr counter\nincr counter\nexec\n' | cli

# Pipelines: 10,000 commands in the protocol's own form.
for i in {1..10000}; do printf '*3\r\n$3\r\nSET\r\n$%d\r\nkey:%d\r\n$%d\r\nvalue-%d\r\n' $((4 + ${#i})) $i $((6 + ${#i})) $i; done |
  cli --pipe | tail -n 1
cli eval 'local sum = 0
  for i = 1, 2000 do sum = sum + #redis.call("get", KEYS[1] .. i); redis.call("hset", "lua", i, sum) end
  return {sum, redis.sha1hex(tostring(sum)), redis.call("hlen", "lua")}' 1 key:
cli dbsize
redis-benchmark -s "$dir/socket" -n 5000 -c 20 -P 8 -t incr,lpush,mset -q >/dev/null
cli get counter:__rand_int__
cli llen mylist

# A snapshot: the child writes what was, while the parent copies the pages it changes.
digest=$(cli debug digest)
cli debug set-active-expire 0
cli bgsave
cli eval 'for i = 1, 10000 do redis.call("append", "key:" .. i, "-changed") end' 0
await rdb_bgsave_in_progress
info persistence rdb_last_bgsave_status
changed=$(cli debug digest)
mkdir snapshot && cp data/dump.rdb snapshot/
redis-check-rdb snapshot/dump.rdb | tail -n 1 | sed 's/.*\] //'

# The log: rewritten by a child, too, then the server is killed.
cli bgrewriteaof
cli eval 'for i = 1, 1000 do redis.call("set", "late:" .. i, i) end' 0
await aof_rewrite_in_progress
info persistence aof_last_bgrewrite_status
last=$(cli debug digest)
cli config set appendfsync always
cli set final word
final=$(cli debug digest)
disown $server  # or bash would tell of its end
kill -9 $server
while kill -0 $server 2>/dev/null; do sleep 0.05; done
start data --appendonly yes
[ "$(cli debug digest)" = "$final" ] && echo 'the log has all'
cli get final
cli shutdown nosave
wait $server
start snapshot
[ "$(cli debug digest)" = "$digest" ] && echo 'the snapshot has what was'
[ "$digest" != "$changed" ] && [ "$changed" != "$last" ] && echo 'and not what came after'
cli dbsize
cli shutdown nosave
wait $server
echo "the server ended: $?"

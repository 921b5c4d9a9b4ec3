#!/bin/bash
# nginx with two workers over loopback: files small and large, ranges, compression, 1,000 requests on one connection,
# many connections at once, a reload and a graceful end.
set -e
server=
dir=$(mktemp -d)
chmod 755 "$dir"
cd "$dir"
trap 'kill $server 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
mkdir -p www/sub
echo 'first page' >www/index.html
seq 1 20000 >www/numbers.txt
head -c 8000000 /dev/zero | tr '\0' 'x' >www/large.bin
cat >nginx.conf <<CONF
worker_processes 2;
pid $dir/nginx.pid;
error_log $dir/error.log;
events { worker_connections 256; }
http {
  types { text/html html; text/plain txt; }
  access_log $dir/access.log;
  keepalive_requests 2000;
  sendfile on;
  client_body_temp_path $dir/body;
  proxy_temp_path $dir/proxy;
  server {
    listen 127.0.0.1:8080;
    listen [::1]:8080;
    root $dir/www;
    location /sub/ { autoindex on; }
    location /gone { return 410 "gone\n"; }
    location /packed { gzip on; gzip_types text/plain; gzip_min_length 1; alias $dir/www/numbers.txt; default_type text/plain; }
    location /proxy/ { proxy_pass http://127.0.0.1:8080/; }
  }
}
CONF
nginx -c "$dir/nginx.conf" -t 2>&1 | sed "s,$dir,DIR,"
nginx -c "$dir/nginx.conf" -g 'daemon off;' & server=$!
until curl -s -o /dev/null http://127.0.0.1:8080/; do sleep 0.05; done
url=http://127.0.0.1:8080
curl -s $url/
curl -s 'http://[::1]:8080/'
curl -s $url/numbers.txt | sha256sum
curl -s $url/large.bin | sha256sum
curl -s -r 100-149 $url/numbers.txt | od -An -c
curl -s -o page -w '%{http_code} %{content_type} %{size_download}\n' $url/none
curl -s -I $url/numbers.txt | grep -iE '^(HTTP|Content-Length|Content-Type|Server)'
curl -s -w '%{http_code}\n' $url/gone
curl -s --compressed $url/packed | sha256sum
[ "$(curl -s -H 'Accept-Encoding: gzip' -o /dev/null -w '%{size_download}' $url/packed)" -lt 60000 ] && echo packed
curl -s $url/proxy/numbers.txt | sha256sum
curl -s -o /dev/null -w '%{http_code}\n' -X POST -d @www/numbers.txt $url/index.html
# One connection: only the first request connects.
curl -s -w '%{http_code} %{num_connects}\n' "$url/?[1-1000]" | sort | uniq -c
curl -s -S --no-progress-meter --parallel --parallel-immediate --parallel-max 50 -o 'out#1' "$url/numbers.txt?[1-300]"
cat out* | sha256sum
# A reload while a slow reader is in the middle: it gets the rest from the old worker.
curl -s --limit-rate 4M $url/large.bin >slow & slow=$!
sed -i 's/gone\\n/gone for good\\n/' nginx.conf
kill -HUP $server
until [ "$(curl -s $url/gone)" = 'gone for good' ]; do sleep 0.05; done
wait $slow
sha256sum <slow
kill -QUIT $server
wait $server
echo "ended: $?"
grep -c 'GET /?[0-9]* HTTP/1.1" 200' access.log
grep -E '\[(emerg|alert|crit)\]' error.log | head || true
echo 'the end'

#!/usr/bin/env bash
# Runs Ceph's S3 server on loopback with all its data in memory, for the store's contract tests:
#   infra/s3/radosgw.sh FOLDER MON_PORT HTTP_PORT
# Prints one line of JSON when it is ready and stops everything when its input closes or it gets a
# signal. FOLDER must be empty or absent; it holds sockets, logs and the monitor's database.
set -euo pipefail

packages='radosgw ceph-mon ceph-osd ceph-common'
for program in radosgw radosgw-admin ceph-mon ceph-osd ceph monmaptool curl; do
  if ! command -v "$program" >/dev/null; then
    echo "$program is missing. On Debian: apt-get install --no-install-recommends $packages curl" >&2
    exit 3
  fi
done

folder=$(mkdir -p "$1" && cd "$1" && pwd)
mon_port=$2
http_port=$3
access_key=gemletgemletgemlet
secret_key=made-for-loopback-only
uuid() { cat /proc/sys/kernel/random/uuid; }

mkdir -p "$folder"/{mon,osd,rgw,run,log}
export CEPH_CONF=$folder/ceph.conf
cat >"$CEPH_CONF" <<CONF
[global]
fsid = $(uuid)
mon host = v1:127.0.0.1:$mon_port
auth cluster required = none
auth service required = none
auth client required = none
ms bind msgr2 = false
public addr = 127.0.0.1
run dir = $folder/run
admin socket = $folder/run/\$name.sock
pid file = $folder/run/\$name.pid
log file = $folder/log/\$name.log
mon cluster log file = $folder/log/cluster.log
crash dir = $folder/run
mon data = $folder/mon
mon allow pool size one = true
osd data = $folder/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd crush chooseleaf type = 0
rgw data = $folder/rgw
rgw dns name = 127.0.0.1
rgw frontends = beast endpoint=127.0.0.1:$http_port
CONF

# What is started in the background gets no input of its own.
exec 3<&0
pids=()
stop() {
  trap - EXIT INT TERM
  kill "${pids[@]}" 2>/dev/null || true
  for _ in $(seq 50); do
    kill -0 "${pids[@]}" 2>/dev/null || break
    sleep 0.1
  done
  # The object store often does not hear the first time.
  kill -KILL "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
}
trap stop EXIT
trap 'exit 0' INT TERM

# Daemons stay in the foreground (-f), so that they are ours to stop.
daemon() {
  "$@" </dev/null 3<&- >>"$folder/log/output.log" 2>&1 &
  pids+=($!)
}
quietly() { "$@" >>"$folder/log/output.log" 2>&1 || { tail -n 20 "$folder/log/output.log" >&2; return 1; }; }
# The CLI may be a script of the system's Python; another one in PATH lacks its modules.
ceph_cli() { PATH=/usr/bin:$PATH timeout 30 ceph "$@"; }

quietly monmaptool --create --addv a "[v1:127.0.0.1:$mon_port]" \
  --fsid "$(sed -n 's/^fsid = //p' "$CEPH_CONF")" "$folder/monmap"
quietly ceph-mon -i a --mkfs --monmap "$folder/monmap"
daemon ceph-mon -i a -f
osd_uuid=$(uuid)
quietly ceph_cli osd new "$osd_uuid"
quietly ceph-osd -i 0 --mkfs --osd-uuid "$osd_uuid"
# Asking the monitor for its settings first would now and then leave it without the cluster's id, and
# the monitor refuses it then.
daemon ceph-osd -i 0 -f --no-mon-config
quietly timeout 60 radosgw-admin user create --uid=test --display-name=test \
  --access-key="$access_key" --secret-key="$secret_key"
daemon radosgw -n client.rgw -f
for _ in $(seq 300); do
  if curl -s -o /dev/null "http://127.0.0.1:$http_port/"; then
    echo "{\"endpoint\":\"http://127.0.0.1:$http_port\",\"accessKeyId\":\"$access_key\",\"secretAccessKey\":\"$secret_key\"}"
    # Until whoever started us closes our input; in the background, so that signals are heard.
    cat <&3 >/dev/null &
    pids+=($!)
    wait $! || true
    exit 0
  fi
  sleep 0.1
done
echo "radosgw did not answer; see $folder/log" >&2
exit 1

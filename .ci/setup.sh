# What quickstart and run-tests share: checks, packages, builds, and how progress is shown. Sourced, not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C.UTF-8
cache=${HMVM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hmvm}
program=$(basename "$0")

die() { printf '%s: %s\n' "$program" "$*" >&2; exit 1; }

# Prefixes for the words of the log: a heading for each step, so that a reader finds the place where it stopped.
heading() { printf '==> %s\n' "$*"; }

# step TITLE COMMAND...: runs the command with its output in a log file. A terminal sees its last line, live;
# anything else gets a plain line every 20 seconds. On failure the log's end is shown.
step() {
  local title=$1 log start=$SECONDS shown=$SECONDS last pid status=0
  shift
  log=$(mktemp)
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    last=$(tail -c 400 "$log" | tr '\r' '\n' | tail -n 1 | tr -cd '[:print:]')
    if [ -t 1 ]; then
      printf '\r\033[K==> %s (%d s) %.*s' "$title" $((SECONDS - start)) 90 "$last"
    elif [ $((SECONDS - shown)) -ge 20 ]; then
      shown=$SECONDS
      printf '    %s (%d s) %.100s\n' "$title" $((SECONDS - start)) "$last"
    fi
    sleep 0.3
  done
  wait "$pid" || status=$?
  [ ! -t 1 ] || printf '\r\033[K'
  if [ "$status" -ne 0 ]; then
    printf '==> %s: failed, exit code %d; the end of its output:\n' "$title" "$status" >&2
    tail -n 40 "$log" >&2
    rm -f "$log"
    exit 1
  fi
  heading "$title: done in $((SECONDS - start)) s"
  rm -f "$log"
}

# need_space DIRECTORY MIB PURPOSE
need_space() {
  local free
  mkdir -p "$1" 2>/dev/null || die "can't create '$1' ($3); choose another place for caches with HMVM_CACHE"
  free=$(df --output=avail -m "$1" | tail -n 1 | tr -d ' ')
  [ "$free" -ge "$2" ] || die "no space: '$1' has $free MiB free, $3 needs $2 MiB"
}

check_host() {
  [ "$(id -u)" -eq 0 ] || die "must run as root: it installs Debian packages, mounts images and uses /dev/kvm"
  [ "$(uname -m)" = x86_64 ] || die "this machine is $(uname -m); hmvm runs on x86_64 only"
  command -v apt-get >/dev/null || die "apt-get is missing: the set-up is for Debian 12"
  [ -e /dev/kvm ] || die "no /dev/kvm: load the kvm module of this CPU, or enable nested virtualization of this VM"
  { : <>/dev/kvm; } 2>/dev/null || die "no permission to open /dev/kvm: check its mode and this container's device rules"
  need_space "$cache" 4000 'the guest kernel build'
  need_space build 3000 'the build'
}

# install_packages NAME...: asks nothing and does nothing when all are there.
install_packages() {
  local missing
  missing=$(for name; do
    dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || echo "$name"
  done)
  [ -n "$missing" ] || return 0
  export DEBIAN_FRONTEND=noninteractive
  step 'Updating package lists' apt-get update
  # shellcheck disable=SC2086 # one word a package
  step "Installing $(wc -w <<<"$missing") Debian packages" \
    apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing
}

# packages LIST: the names in .ci/packages-LIST, comments left out.
packages() { sed -e 's/#.*//' ".ci/packages-$1"; }

# build PRESET [TARGET...]
build() {
  local preset=$1
  shift
  step "Configuring the $preset build" cmake --preset "$preset"
  step "Building ($preset)" cmake --build "build/$preset" "${@/#/--target=}"
}

# install_kernel [VARIANT...]: the guest kernel, built once for each content of its recipe, beside the programs that
# use it. Further variants share that build's objects, so they are named in the same call.
install_kernel() {
  local directory variant variants=(--variant guest)
  for variant; do variants+=(--variant "$variant"); done
  heading 'Guest kernel'
  directory=$(guest/kernel/build "${variants[@]}")
  directory=${directory%%$'\n'*}  # the guest's; a line each
  mkdir -p build/release/share/hmvm
  cmp -s "$directory/vmlinux" build/release/share/hmvm/vmlinux ||
    cp "$directory/vmlinux" build/release/share/hmvm/vmlinux
}

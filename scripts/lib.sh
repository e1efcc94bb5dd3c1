# What the scripts share: packages, asking, configuring, building. POSIX sh, sourced with `root`
# (the checkout) and `assume_yes` set. All talk goes to standard error.

say() {
  printf '%s\n' "$*" >&2
}

die() {
  say "neap: $*"
  exit 1
}

installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

known() {
  apt-cache show "$1" >/dev/null 2>&1
}

# Debian 12 has llhttp only as the C sources inside node-llhttp.
llhttp_package() {
  for p in libllhttp-dev node-llhttp; do
    if installed $p; then
      echo $p
      return
    fi
  done
  version=$(. /etc/os-release 2>/dev/null && echo "${ID:-} ${VERSION_ID:-}") || version=
  if [ "$version" != "debian 12" ] && { [ "${version%% *}" = debian ] || known libllhttp-dev; }; then
    echo libllhttp-dev
  else
    echo node-llhttp
  fi
}

build_packages() {
  echo gcc g++ libc6-dev cmake ninja-build pkgconf libuv1-dev liblua5.4-dev libc-ares-dev \
    libsimdjson-dev libedit-dev libssl-dev zlib1g-dev libbrotli-dev libzstd-dev libnghttp2-dev
  if command -v dpkg-query >/dev/null; then llhttp_package; fi
}

test_packages() {
  build_packages
  echo libcmocka-dev lua-busted curl procps make python3 python3-venv wrk
  # Peers that neap is tested with.
  echo openssl nginx nodejs python3-requests sslscan testssl.sh slowhttptest apache2-utils zstd \
    libnginx-mod-stream haproxy
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    command -v sudo >/dev/null || die "needs root to install packages, and there is no sudo: run as root
  apt-get update && apt-get install$missing"
    sudo "$@"
  fi
}

# Asks on a terminal; without one there is nobody to ask, and going on is what the command is for.
confirm() {
  if [ -n "$assume_yes" ] || ! [ -t 0 ]; then return 0; fi
  printf 'Go on? [y/N] ' >&2
  read -r answer || return 1
  case $answer in [yY]*) return 0 ;; *) return 1 ;; esac
}

apt_install() {
  quiet=-qq
  if [ -t 2 ]; then quiet=-q; fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get $quiet -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$@" >&2
}

# install_missing PURPOSE PACKAGE…
install_missing() {
  purpose=$1
  shift
  if ! command -v dpkg-query >/dev/null; then return 0; fi # not Debian: cmake says what it misses
  missing=
  for p in "$@"; do
    installed "$p" || missing="$missing $p"
  done
  if [ -z "$missing" ]; then return 0; fi
  say "To $purpose, these packages will be installed:$missing"
  confirm || die "not installed. To do it yourself: apt-get update && apt-get install$missing"
  stale=
  for p in $missing; do
    known "$p" || stale=1
  done
  if [ -n "$stale" ]; then as_root apt-get -q update >&2; fi
  # An index that has aged names versions the mirror no longer has.
  # shellcheck disable=SC2086
  apt_install $missing || { as_root apt-get -q update >&2 && apt_install $missing; } ||
    die "could not install$missing"
}

# configure DIR CMAKE-ARGUMENT…: quiet unless it fails.
configure() {
  dir=$1
  shift
  mkdir -p "$dir"
  launcher=
  if command -v ccache >/dev/null; then
    launcher="-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache"
  fi
  # shellcheck disable=SC2086
  if ! cmake -G Ninja -S "$root" -B "$dir" $launcher "$@" >"$dir/configure.log" 2>&1; then
    cat "$dir/configure.log" >&2
    die "cmake could not configure $dir"
  fi
}

# build DIR [TARGET…]: progress on a terminal, otherwise one line, and more only when it fails.
build() {
  dir=$1
  shift
  say "Building in ${dir#"$root"/}/"
  if [ -t 2 ]; then
    ninja -C "$dir" "$@" >&2 || die "the build failed"
  elif ! ninja -C "$dir" "$@" >"$dir/build.log" 2>&1; then
    grep -v '^\[' "$dir/build.log" | tail -n 100 >&2
    die "the build failed; all of its output is in $dir/build.log"
  fi
}

# One builder at a time: services started side by side would build into the same directory.
build_release() {
  mkdir -p "$root/build"
  exec 9>"$root/build/.lock"
  flock 9
  if ! fresh; then
    # Taken before building: what is edited meanwhile is newer.
    touch "$root/build/.stamp.new"
    configure "$root/build" -DCMAKE_BUILD_TYPE=Release
    build "$root/build" neap
    mv "$root/build/.stamp.new" "$root/build/.stamp"
  fi
  exec 9>&-
}

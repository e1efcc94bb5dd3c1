# examples/embed builds against the installed package, by CMake and by make, and runs to a clean end.
. "$NEAP_SOURCE/spec/support/e2e.sh"

cmake --install "$NEAP_BUILD" --prefix "$tmp/prefix" >"$tmp/install.log" 2>&1
prefix=$tmp/prefix
libdir=$(dirname "$(find "$prefix" -name libneap.a)")
cp -r "$NEAP_SOURCE/examples/embed" "$tmp/embed"
policy=$tmp/embed/policy.lua

check() { # WHAT WORKERS PROGRAM…
  local what=$1 workers=$2 out
  shift 2
  out=$(timeout 60 "$@" "$policy" "$workers" 2>"$tmp/run.log") || fail "$what ended with $?"
  matches "$out" 'discount of a regular customer: 0\.1' "$what: a policy called by C"
  matches "$out" 'HTTP/1\.1 200 OK: \{.*"total":20' "$what: a request"
  matches "$out" 'neap is closed$' "$what: the end"
  equal "$(cat "$tmp/run.log")" "" "$what: standard error"
}

cmake -G Ninja -S "$tmp/embed" -B "$tmp/embed/build" -DCMAKE_PREFIX_PATH="$prefix" >"$tmp/cmake.log" 2>&1
cmake --build "$tmp/embed/build" >>"$tmp/cmake.log" 2>&1
check "by CMake" 1 "$tmp/embed/build/embed"
for workers in 2 4; do
  check "$workers workers" $workers "$tmp/embed/build/embed"
done

export PKG_CONFIG_PATH=$libdir/pkgconfig
make -C "$tmp/embed" >"$tmp/make.log" 2>&1
check "by make" 1 env LD_LIBRARY_PATH="$libdir" "$tmp/embed/embed"

# What goes wrong is said.
printf 'error("not today")\n' >"$tmp/embed/bad.lua"
code=0
out=$(LD_LIBRARY_PATH=$libdir timeout 60 "$tmp/embed/embed" "$tmp/embed/bad.lua" 2>&1) || code=$?
equal "$code" 1 "the exit code of a policy that fails"
matches "$out" 'ESCRIPT: .*bad\.lua:1: not today' "a policy that fails"

# The header is C++ as well.
printf '#include <neap.h>\nint main() { neap_options o = NEAP_OPTIONS_INIT; neap_t *n; %s }\n' \
  'if (neap_open(&o, &n) != NEAP_OK) return 1; neap_close(n); return neap_integer(1).type != NEAP_INTEGER;' \
  >"$tmp/user.cc"
read -ra flags < <(pkg-config --cflags --libs neap)
c++ -std=c++11 -Wall -Wextra -Werror -pedantic "$tmp/user.cc" "${flags[@]}" -Wl,-rpath,"$libdir" -o "$tmp/user_cc"
"$tmp/user_cc" || fail "a C++ program ended with $?"

# What `cmake --install` lays down is complete, exports neap_* alone, can be moved, and is found by
# pkg-config and by CMake, shared and static.
. "$NEAP_SOURCE/spec/support/e2e.sh"

cmake --install "$NEAP_BUILD" --prefix "$tmp/first" >"$tmp/install.log" 2>&1
mv "$tmp/first" "$tmp/moved"
prefix=$tmp/moved
libdir=$(dirname "$(find "$prefix" -name libneap.a)")

for file in "$prefix/bin/neap" "$prefix/include/neap.h" "$libdir/libneap.so" "$libdir/libneap.a" \
  "$libdir/pkgconfig/neap.pc" "$libdir/cmake/Neap/NeapConfig.cmake"; do
  [ -e "$file" ] || fail "${file#"$prefix"/} was not installed"
done

foreign=$(nm -D --defined-only "$libdir/libneap.so" | awk '$3 !~ /^neap_/ { print $3 }')
equal "$foreign" "" "symbols that are not neap_*"
nm -D --defined-only "$libdir/libneap.so" | grep -q ' neap_err_name$' || fail "neap_err_name is missing"

version=$("$prefix/bin/neap" version)
matches "$version" "$(sed -n 's/^#define NEAP_VERSION "\(.*\)"/\1/p' "$prefix/include/neap.h")"

cat >"$tmp/user.c" <<'C'
#include <neap.h>
#include <stdio.h>
int main(void)
{
    puts(neap_err_name(NEAP_ETIMEDOUT));
    return 0;
}
C

# Without --define-prefix: the file finds its prefix by itself.
export PKG_CONFIG_PATH=$libdir/pkgconfig
read -ra shared < <(pkg-config --cflags --libs neap)
cc "$tmp/user.c" "${shared[@]}" -Wl,-rpath,"$libdir" -o "$tmp/user_shared"
equal "$("$tmp/user_shared")" ETIMEDOUT "shared, by pkg-config"

read -ra static < <(pkg-config --static --cflags --libs neap | sed 's/-lneap\b/-l:libneap.a/')
cc "$tmp/user.c" "${static[@]}" -o "$tmp/user_static"
equal "$("$tmp/user_static")" ETIMEDOUT "static, by pkg-config"
if ldd "$tmp/user_static" | grep -q libneap; then fail "the static program needs libneap.so"; fi

mkdir "$tmp/project"
cat >"$tmp/project/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(user C)
find_package(Neap 0.1 REQUIRED)
foreach(kind neap static)
  add_executable(user_${kind} ../user.c)
  target_link_libraries(user_${kind} PRIVATE neap::${kind})
endforeach()
CMAKE
cmake -G Ninja -S "$tmp/project" -B "$tmp/project/build" -DCMAKE_PREFIX_PATH="$prefix" \
  >"$tmp/cmake.log" 2>&1
cmake --build "$tmp/project/build" >>"$tmp/cmake.log" 2>&1
equal "$("$tmp/project/build/user_neap")" ETIMEDOUT "shared, by CMake"
equal "$("$tmp/project/build/user_static")" ETIMEDOUT "static, by CMake"

# Libraries, all from the system's packages. llhttp has two shapes: a library with a pkg-config
# file (Debian 13), or the generated C sources that node-llhttp ships (Debian 12).
find_package(PkgConfig REQUIRED)
pkg_check_modules(uv REQUIRED IMPORTED_TARGET libuv>=1.44)
pkg_check_modules(lua REQUIRED IMPORTED_TARGET lua5.4)
pkg_check_modules(cares REQUIRED IMPORTED_TARGET libcares)
# 1.28 deprecates calls whose successors Debian 12's 1.18 does not have.
target_compile_definitions(PkgConfig::cares INTERFACE CARES_NO_DEPRECATED)
pkg_check_modules(simdjson REQUIRED IMPORTED_TARGET simdjson)
pkg_check_modules(edit REQUIRED IMPORTED_TARGET libedit)

pkg_check_modules(llhttp QUIET IMPORTED_TARGET libllhttp)
if(llhttp_FOUND)
  add_library(neap_llhttp INTERFACE)
  target_link_libraries(neap_llhttp INTERFACE PkgConfig::llhttp)
else()
  set(llhttp_src /usr/share/llhttp)
  find_path(LLHTTP_INCLUDE llhttp.h PATHS /usr/share/include/llhttp REQUIRED)
  add_library(neap_llhttp OBJECT ${llhttp_src}/llhttp.c ${llhttp_src}/api.c ${llhttp_src}/http.c)
  target_include_directories(neap_llhttp SYSTEM PUBLIC ${LLHTTP_INCLUDE})
  target_compile_definitions(neap_llhttp PUBLIC LLHTTP_STRICT_MODE=1)
  target_compile_options(neap_llhttp PRIVATE -w -O2)
endif()

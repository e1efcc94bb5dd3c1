# What `cmake --install` lays down: the program, both libraries, the header, the pkg-config and
# CMake packages, and the editors' declarations.
include(CMakePackageConfigHelpers)

install(TARGETS neap_shared neap_static
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${CMAKE_SOURCE_DIR}/src/neap.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
# Unit files to copy to /etc/systemd/system; where they go is for packagers to say.
configure_file(${CMAKE_SOURCE_DIR}/share/systemd/neap@.service.in
  ${CMAKE_BINARY_DIR}/generated/neap@.service @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/generated/neap@.service ${CMAKE_SOURCE_DIR}/share/systemd/neap@.socket
  DESTINATION ${CMAKE_INSTALL_DATADIR}/neap/systemd)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/lua/neap/_meta DESTINATION ${CMAKE_INSTALL_DATADIR}/neap
  OPTIONAL FILES_MATCHING PATTERN "*.lua")

# The packages behind libneap.a, for those who link it.
set(NEAP_PC_REQUIRES ${uv_MODULE_NAME} ${lua_MODULE_NAME} ${cares_MODULE_NAME} ${simdjson_MODULE_NAME}
  openssl zlib libbrotlienc libbrotlidec libzstd libnghttp2)
if(llhttp_FOUND)
  list(APPEND NEAP_PC_REQUIRES ${llhttp_MODULE_NAME})
endif()
list(JOIN NEAP_PC_REQUIRES " " NEAP_PC_REQUIRES)

# A library built with sanitizers can only be linked with them.
set(NEAP_LINK_FLAGS_LIST "")
if(NEAP_SANITIZE)
  list(APPEND NEAP_LINK_FLAGS_LIST -fsanitize=${NEAP_SANITIZE})
endif()
if(NEAP_COVERAGE)
  list(APPEND NEAP_LINK_FLAGS_LIST --coverage)
endif()
set(NEAP_LINK_FLAGS "")
foreach(flag ${NEAP_LINK_FLAGS_LIST})
  string(APPEND NEAP_LINK_FLAGS " ${flag}")
endforeach()

# Relative to the directory of neap.pc, so that an installed tree can be moved.
file(RELATIVE_PATH NEAP_PC_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" NEAP_PC_PREFIX ${NEAP_PC_PREFIX})
configure_file(${CMAKE_SOURCE_DIR}/cmake/neap.pc.in ${CMAKE_BINARY_DIR}/generated/neap.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/generated/neap.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Neap)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/NeapConfig.cmake.in
  ${CMAKE_BINARY_DIR}/generated/NeapConfig.cmake INSTALL_DESTINATION ${package_dir}
  PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/generated/NeapConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/generated/NeapConfig.cmake
  ${CMAKE_BINARY_DIR}/generated/NeapConfigVersion.cmake DESTINATION ${package_dir})

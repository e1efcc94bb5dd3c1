# What is built from the layers: libneap (shared and static), the program, and their installation.
get_property(layer_libs GLOBAL PROPERTY NEAP_LAYER_LIBS)
list(REMOVE_DUPLICATES layer_libs)
set(lib_layers ${NEAP_LAYERS})
list(REMOVE_ITEM lib_layers app)
set(lib_objects "")
foreach(layer ${lib_layers})
  list(APPEND lib_objects $<TARGET_OBJECTS:np_${layer}>)
endforeach()
get_target_property(llhttp_type neap_llhttp TYPE)
if(llhttp_type STREQUAL "OBJECT_LIBRARY")
  list(APPEND lib_objects $<TARGET_OBJECTS:neap_llhttp>)
endif()
set(lib_deps neap_options PkgConfig::uv PkgConfig::lua PkgConfig::cares PkgConfig::simdjson
  PkgConfig::openssl PkgConfig::zlib PkgConfig::brotli PkgConfig::zstd
  PkgConfig::nghttp2)
if(llhttp_FOUND)
  list(APPEND lib_deps PkgConfig::llhttp)
endif()

add_library(neap_static STATIC ${lib_objects})
set_target_properties(neap_static PROPERTIES OUTPUT_NAME neap LINKER_LANGUAGE CXX)
target_link_libraries(neap_static PUBLIC ${lib_deps})
target_include_directories(neap_static INTERFACE ${CMAKE_SOURCE_DIR}/src)

add_library(neap_shared SHARED ${lib_objects})
set_target_properties(neap_shared PROPERTIES OUTPUT_NAME neap LINKER_LANGUAGE CXX
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
target_link_libraries(neap_shared PRIVATE ${lib_deps})
# Nothing but neap_* leaves the library, whatever the C++ headers instantiate.
target_link_options(neap_shared PRIVATE LINKER:--version-script=${CMAKE_SOURCE_DIR}/cmake/neap.map)
set_property(TARGET neap_shared APPEND PROPERTY LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/neap.map)
target_include_directories(neap_shared INTERFACE ${CMAKE_SOURCE_DIR}/src)

if(EXISTS ${CMAKE_SOURCE_DIR}/src/app/main.c)
  add_executable(neap src/app/main.c $<TARGET_OBJECTS:np_app>)
  set_target_properties(neap PROPERTIES LINKER_LANGUAGE CXX ENABLE_EXPORTS ON)
  target_link_libraries(neap PRIVATE np_app_headers neap_static PkgConfig::edit)
  install(TARGETS neap RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

include(NeapInstall)

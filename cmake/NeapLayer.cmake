# A layer is an object library that sees only the layers it names. Each layer's headers are reached
# through a directory of its own in the build tree that holds one link, build/layers/<name>/<name> →
# src/<name>, so that `#include "net/loop.h"` does not even resolve where net is not a dependency.
set(NEAP_LAYERS "" CACHE INTERNAL "")

file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/layers/public)
file(CREATE_LINK ${CMAKE_SOURCE_DIR}/src/neap.h ${CMAKE_BINARY_DIR}/layers/public/neap.h SYMBOLIC)

function(np_layer name)
  cmake_parse_arguments(L "" "" "DEPS;LIBS;HEADER_LIBS" ${ARGN})
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/layers/${name})
  file(CREATE_LINK ${CMAKE_SOURCE_DIR}/src/${name} ${CMAKE_BINARY_DIR}/layers/${name}/${name} SYMBOLIC)

  add_library(np_${name}_headers INTERFACE)
  target_include_directories(np_${name}_headers INTERFACE
    ${CMAKE_BINARY_DIR}/layers/${name} ${CMAKE_BINARY_DIR}/layers/public)
  foreach(dep ${L_DEPS})
    target_link_libraries(np_${name}_headers INTERFACE np_${dep}_headers)
  endforeach()
  # Libraries whose types stand in this layer's headers: whoever includes those must find theirs.
  foreach(lib ${L_HEADER_LIBS})
    target_include_directories(np_${name}_headers SYSTEM INTERFACE
      $<TARGET_PROPERTY:${lib},INTERFACE_INCLUDE_DIRECTORIES>)
    target_compile_definitions(np_${name}_headers INTERFACE
      $<TARGET_PROPERTY:${lib},INTERFACE_COMPILE_DEFINITIONS>)
  endforeach()

  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.c
       ${CMAKE_SOURCE_DIR}/src/${name}/*.cc)
  if(name STREQUAL "app")
    list(FILTER sources EXCLUDE REGEX "/main\\.c$")
  endif()
  if(NOT sources)
    set(sources ${CMAKE_SOURCE_DIR}/cmake/empty.c)
  endif()
  add_library(np_${name} OBJECT ${sources})
  target_link_libraries(np_${name} PRIVATE neap_options np_${name}_headers ${L_LIBS})
  # What a program that links this layer's objects must link as well.
  set_property(GLOBAL APPEND PROPERTY NEAP_LAYER_LIBS ${L_LIBS})
  set_property(GLOBAL PROPERTY NEAP_DEPS_${name} ${L_DEPS})
  set_property(GLOBAL PROPERTY NEAP_LIBS_${name} ${L_LIBS})
  set(NEAP_LAYERS ${NEAP_LAYERS} ${name} CACHE INTERNAL "")
endfunction()

# Gives a test program the headers and objects of these layers and of all below them, and what
# those need. From script up that is the whole library.
function(np_link_layers program)
  set(todo ${ARGN})
  set(closure "")
  while(todo)
    list(POP_FRONT todo layer)
    if(NOT layer IN_LIST closure)
      list(APPEND closure ${layer})
      get_property(deps GLOBAL PROPERTY NEAP_DEPS_${layer})
      list(APPEND todo ${deps})
    endif()
  endwhile()

  target_link_libraries(${program} PRIVATE neap_options)
  if("script" IN_LIST closure)
    target_link_libraries(${program} PRIVATE neap_static)
  endif()
  foreach(layer ${closure})
    get_property(libs GLOBAL PROPERTY NEAP_LIBS_${layer})
    target_link_libraries(${program} PRIVATE np_${layer}_headers)
    if(layer STREQUAL "app" OR NOT "script" IN_LIST closure)
      target_link_libraries(${program} PRIVATE np_${layer} ${libs})
    endif()
  endforeach()
endfunction()

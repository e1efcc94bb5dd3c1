# The Lua standard library, compiled to bytecode by a small host tool (a syntax error ends the
# build) and linked into the script layer as one table of modules.
function(np_lua_library layer root)
  add_executable(neap_embed_lua ${CMAKE_SOURCE_DIR}/tools/embed_lua.c)
  target_link_libraries(neap_embed_lua PRIVATE PkgConfig::lua)
  file(GLOB_RECURSE modules CONFIGURE_DEPENDS RELATIVE ${root} ${root}/*.lua)
  list(FILTER modules EXCLUDE REGEX "/_meta/")
  list(TRANSFORM modules PREPEND ${root}/ OUTPUT_VARIABLE module_files)
  set(out ${CMAKE_BINARY_DIR}/generated/lua_modules.c)
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/generated)
  add_custom_command(OUTPUT ${out}
    COMMAND neap_embed_lua ${root} ${out} ${modules}
    DEPENDS neap_embed_lua ${module_files}
    COMMENT "Compiling the Lua standard library" VERBATIM)
  target_sources(np_${layer} PRIVATE ${out})
endfunction()

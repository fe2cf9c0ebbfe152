# conclave_embed(TARGET HEADER h FUNCTION ns::name ROOT dir FILES files...): puts files into the
# library, so that an installed program needs none beside it. HEADER (as TARGET includes it)
# declares `std::string_view name(std::string_view file)` in namespace ns; the generated source
# defines it: the bytes of a file by its name relative to ROOT, or a view of null for another name.
#
# Run as a script (cmake -P, with OUTPUT, HEADER, FUNCTION, ROOT and FILES, joined by commas) it writes that
# source. Bytes become integers and not string literals: compilers limit the length of those.

if(CMAKE_SCRIPT_MODE_FILE)
  string(REGEX MATCH "^(.*)::([^:]+)$" whole "${FUNCTION}")
  set(namespace ${CMAKE_MATCH_1})
  set(function ${CMAKE_MATCH_2})
  set(arrays "")
  set(cases "")
  set(index 0)
  string(REPLACE "," ";" files "${FILES}")
  foreach(file ${files})
    file(READ "${ROOT}/${file}" bytes HEX)
    string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
    string(APPEND arrays "constexpr unsigned char kFile${index}[] = {\n${bytes}0};  // ${file}\n")
    string(APPEND cases
      "  if (file == \"${file}\") {\n"
      "    return {reinterpret_cast<const char*>(kFile${index}), sizeof(kFile${index}) - 1};\n  }\n")
    math(EXPR index "${index} + 1")
  endforeach()
  file(WRITE ${OUTPUT}
    "// Written by cmake/Embed.cmake.\n#include \"${HEADER}\"\n\nnamespace ${namespace} {\n"
    "namespace {\n${arrays}}  // namespace\n\n"
    "std::string_view ${function}(std::string_view file) {\n${cases}  return {};\n}\n\n"
    "}  // namespace ${namespace}\n")
  return()
endif()

set(CONCLAVE_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(conclave_embed target)
  cmake_parse_arguments(ARG "" "HEADER;FUNCTION;ROOT" "FILES" ${ARGN})
  set(output ${CMAKE_CURRENT_BINARY_DIR}/embedded/${target}.cc)
  set(paths ${ARG_FILES})
  list(TRANSFORM paths PREPEND ${ARG_ROOT}/)
  list(JOIN ARG_FILES "," files)  # a semicolon would be escaped differently by each generator
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${output} -DHEADER=${ARG_HEADER} -DFUNCTION=${ARG_FUNCTION}
            -DROOT=${ARG_ROOT} "-DFILES=${files}" -P ${CONCLAVE_EMBED_SCRIPT}
    DEPENDS ${paths} ${CONCLAVE_EMBED_SCRIPT}
    COMMENT "Embedding files into ${target}" VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()

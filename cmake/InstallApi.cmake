# The installed library: libconclave.so holds all layers that src/api needs, shows the API of
# include/conclave and nothing else, and comes with a CMake package that depends on no other:
#
#   find_package(conclave REQUIRED)
#   target_link_libraries(my_program PRIVATE conclave::conclave)
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/conclave)
set(exports ${PROJECT_SOURCE_DIR}/cmake/conclave.map)

add_library(libconclave SHARED $<TARGET_OBJECTS:conclave_api>)
# BUILD_INTERFACE keeps the layers and their libraries out of the installed package.
target_link_libraries(libconclave PRIVATE $<BUILD_INTERFACE:conclave_api>)
target_link_options(libconclave PRIVATE -Wl,--version-script=${exports} -Wl,--no-undefined)
target_include_directories(libconclave INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(libconclave INTERFACE cxx_std_20)
set_target_properties(libconclave PROPERTIES OUTPUT_NAME conclave EXPORT_NAME conclave
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
  LINK_DEPENDS ${exports} LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
add_library(conclave::conclave ALIAS libconclave)

install(TARGETS libconclave EXPORT conclave LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/conclave DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT conclave NAMESPACE conclave:: FILE conclaveTargets.cmake DESTINATION ${package_dir})
file(WRITE ${PROJECT_BINARY_DIR}/conclaveConfig.cmake
  "include(\"\${CMAKE_CURRENT_LIST_DIR}/conclaveTargets.cmake\")\n")
# Until 1.0 a minor version may change the API.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/conclaveConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/conclaveConfig.cmake
  ${PROJECT_BINARY_DIR}/conclaveConfigVersion.cmake DESTINATION ${package_dir})

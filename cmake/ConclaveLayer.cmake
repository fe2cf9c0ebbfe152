# conclave_layer(NAME DEPS targets...): one folder of src/ is one layer and one static library,
# conclave_NAME. Files are found by name: foo.cc is a source, foo_test.cc belongs to the test
# program test_NAME, foo_bench.cc to the benchmark program bench_NAME (of the target "benchmarks",
# not of "all"). A source whose name ends in an instruction set is compiled for it; nothing else ever
# gets such a flag.

set(CONCLAVE_FLAGS_avx2 -mavx2 -mfma -mf16c -mprefer-vector-width=256)
set(CONCLAVE_FLAGS_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mavx2 -mf16c
    -mprefer-vector-width=512)
set(CONCLAVE_FLAGS_avx512vnni ${CONCLAVE_FLAGS_avx512} -mavx512vnni)
set(CONCLAVE_FLAGS_avx512bf16 ${CONCLAVE_FLAGS_avx512} -mavx512bf16)

# src/kernels/simd/avx512_emulated.h: what AVX-512 computes, on machines without it.
function(conclave_kernel_flags layer isa result)
  if(CONCLAVE_EMULATE_AVX512 AND layer STREQUAL "kernels" AND isa MATCHES "^avx512")
    set(${result} ${CONCLAVE_FLAGS_avx2} -Wno-psabi PARENT_SCOPE)
  else()
    set(${result} ${CONCLAVE_FLAGS_${isa}} PARENT_SCOPE)
  endif()
endfunction()

# Warnings are errors in our own code; -ffp-contract=off keeps the bits the same wherever the
# compiler could have chosen to fuse a multiply and an add (kernels fuse by intrinsics).
function(conclave_compile_options target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Werror
    $<IF:$<CXX_COMPILER_ID:GNU>,-Wno-restrict,-Wno-unknown-warning-option>  # GCC 12 sees overlaps in std::string that cannot be (GCC bug 105651)
    -ffp-contract=off -fno-math-errno -fstack-protector-strong -fvisibility=hidden)
  if(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_definitions(${target} PRIVATE _FORTIFY_SOURCE=2 _GLIBCXX_ASSERTIONS)
  endif()
  if(CONCLAVE_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${CONCLAVE_SANITIZE}
      -fno-sanitize-recover=all -fno-omit-frame-pointer
      $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)  # Boost.Asio's fences, which the thread sanitizer does not follow
    target_link_options(${target} PUBLIC -fsanitize=${CONCLAVE_SANITIZE})
  endif()
endfunction()

# conclave_test(NAME SOURCES files... DEPS targets...): one GoogleTest program, one ctest entry.
function(conclave_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gtest_main)
  conclave_compile_options(${name})
  # Tests compile a third faster with less; the libraries that they test are built as they ship.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  target_compile_definitions(${name} PRIVATE CONCLAVE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name} --gtest_brief=1)
  set_tests_properties(${name} PROPERTIES TIMEOUT 600)
endfunction()

function(conclave_layer name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  set(dir ${PROJECT_SOURCE_DIR}/src/${name})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${dir}/*.cc)
  set(tests ${sources})
  set(benches ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER benches INCLUDE REGEX "_bench\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_(test|bench)\\.cc$")

  foreach(source ${sources})
    if(source MATCHES "_(avx2|avx512|avx512vnni|avx512bf16)\\.cc$")
      conclave_kernel_flags(${name} ${CMAKE_MATCH_1} flags)
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${flags}")
    endif()
  endforeach()

  set(target conclave_${name})
  if(sources)
    add_library(${target} STATIC ${sources})
    target_include_directories(${target} PUBLIC
      $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
    target_link_libraries(${target} PUBLIC ${ARG_DEPS})
    conclave_compile_options(${target})
  else()
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE ${ARG_DEPS})
  endif()

  if(CONCLAVE_TESTS AND tests)
    conclave_test(test_${name} SOURCES ${tests} DEPS ${target})
  endif()
  if(CONCLAVE_BENCH AND benches)
    add_executable(bench_${name} EXCLUDE_FROM_ALL ${benches})
    add_dependencies(benchmarks bench_${name})
    target_link_libraries(bench_${name} PRIVATE ${target} benchmark::benchmark_main)
    conclave_compile_options(bench_${name})
  endif()
endfunction()

# One helper a kind of target, so that each folder's CMakeLists.txt reads as a table of contents.
include(GoogleTest)
include(HmvmPackages)

add_library(hmvm_options INTERFACE)
target_compile_options(hmvm_options INTERFACE -Wall -Wextra -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # g++ 12 sees overlapping copies in `"literal" + std::string` (its bug 105651).
  target_compile_options(hmvm_options INTERFACE -Wno-restrict)
endif()
target_include_directories(hmvm_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})

# hmvm_library(NAME SOURCES ... [TESTS ...] [FUZZ ...] [DEPENDS hmvm::x ...] [LINK lib ...])
# Makes the library hmvm_NAME with the alias hmvm::NAME, one test program of all its TESTS, and for each FUZZ
# file a libFuzzer program that CTest runs for a few seconds. DEPENDS are our own libraries, LINK all others.
function(hmvm_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;TESTS;FUZZ;DEPENDS;LINK" ${ARGN})
  add_library(hmvm_${name} STATIC ${ARG_SOURCES})
  add_library(hmvm::${name} ALIAS hmvm_${name})
  target_link_libraries(hmvm_${name} PUBLIC hmvm_options tl::expected ${ARG_DEPENDS} ${ARG_LINK})
  if(ARG_TESTS)
    hmvm_test(${name}_test SOURCES ${ARG_TESTS} DEPENDS hmvm::${name})
  endif()
  if(HMVM_FUZZ)
    foreach(file ${ARG_FUZZ})
      get_filename_component(fuzz ${file} NAME_WE)
      add_executable(${fuzz} ${file})
      target_link_libraries(${fuzz} PRIVATE hmvm_${name})
      target_link_options(${fuzz} PRIVATE -fsanitize=fuzzer)
      # One seed: what fails in CI fails for its reader too. New ground is for long runs by hand, without -seed.
      add_test(NAME fuzz.${fuzz} COMMAND ${fuzz} -seed=1 -max_total_time=5 -rss_limit_mb=2048 -timeout=10 -print_final_stats=0
                                         -verbosity=0)
      set_tests_properties(fuzz.${fuzz} PROPERTIES LABELS fuzz TIMEOUT 120)
    endforeach()
  endif()
endfunction()

# hmvm_test(NAME SOURCES ... [DEPENDS ...] [LINK ...] [LABELS ...]): a GoogleTest program, its cases known to CTest.
function(hmvm_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;LINK;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE hmvm_options ${ARG_DEPENDS} ${ARG_LINK} GTest::gmock GTest::gtest_main)
  set(labels unit)
  if(ARG_LABELS)
    set(labels ${ARG_LABELS})
  endif()
  gtest_discover_tests(${name} TEST_PREFIX ${name}. DISCOVERY_TIMEOUT 60 PROPERTIES LABELS "${labels}" TIMEOUT 300)
endfunction()

# hmvm_program(NAME SOURCES ... [DEPENDS ...] [LINK ...] DESTINATION dir): an installed executable, with its C++ library in
# it, as HmvmPackages says. The build tree has the same layout below it as an installation, so that a program finds its
# siblings by one rule.
function(hmvm_program name)
  cmake_parse_arguments(ARG "" "DESTINATION" "SOURCES;DEPENDS;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE hmvm_options ${ARG_DEPENDS} ${ARG_LINK})
  target_link_options(${name} PRIVATE -static-libstdc++ -static-libgcc)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/${ARG_DESTINATION})
  install(TARGETS ${name} RUNTIME DESTINATION ${ARG_DESTINATION})
endfunction()

# hmvm_proto(NAME file.proto): the protobuf messages of one API (lite runtime) as hmvm::NAME.
function(hmvm_proto name file)
  get_filename_component(base ${file} NAME_WE)
  file(RELATIVE_PATH dir ${CMAKE_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR})
  set(out ${CMAKE_BINARY_DIR}/${dir}/${base}.pb)
  add_custom_command(OUTPUT ${out}.cc ${out}.h
    COMMAND protobuf::protoc --cpp_out=${CMAKE_BINARY_DIR} -I ${CMAKE_SOURCE_DIR} ${dir}/${file}
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} DEPENDS ${file} VERBATIM)
  add_library(hmvm_${name} STATIC ${out}.cc ${out}.h)
  add_library(hmvm::${name} ALIAS hmvm_${name})
  target_include_directories(hmvm_${name} SYSTEM PUBLIC ${CMAKE_BINARY_DIR})
  target_link_libraries(hmvm_${name} PUBLIC protobuf::libprotobuf-lite Threads::Threads)
endfunction()

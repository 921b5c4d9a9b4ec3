# The libraries of others that more than one folder may use, in their static form where that exists: hmvm and hmvm-vmm
# are started for each container, and what the dynamic linker maps and relocates takes a good part of that.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(GTest REQUIRED)
find_package(tl-expected REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
set(Protobuf_USE_STATIC_LIBS ON)
find_package(Protobuf REQUIRED)

# hmvm_static_package(PREFIX package ...): PkgConfig::PREFIX, of a library's package and those that it needs.
macro(hmvm_static_package prefix)
  set(CMAKE_FIND_LIBRARY_SUFFIXES .a)
  pkg_check_modules(${prefix} REQUIRED IMPORTED_TARGET ${ARGN})
  set(CMAKE_FIND_LIBRARY_SUFFIXES .so .a)
endmacro()
hmvm_static_package(GFLAGS gflags)
hmvm_static_package(GLOG libglog gflags)
pkg_check_modules(LIBUNWIND REQUIRED IMPORTED_TARGET libunwind)  # its static form fits no PIE
target_link_libraries(PkgConfig::GLOG INTERFACE PkgConfig::LIBUNWIND)
hmvm_static_package(LIBBPF libbpf>=1.0 libelf zlib)
hmvm_static_package(LIBCRYPTO libcrypto)
hmvm_static_package(LIBURING liburing)
hmvm_static_package(SECCOMP libseccomp)
hmvm_static_package(XXHASH libxxhash)
hmvm_static_package(YAML_CPP yaml-cpp)
hmvm_static_package(ZSTD libzstd)

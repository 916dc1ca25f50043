# Finds what mesh is built on, and says all that is missing at once.
#
# A dependency is taken as the targets that the parent project has, else by
# find_package (the package's own config first, CMake's module second), else by
# pkg-config. Nothing is set in the parent's scope.

set(_mesh_missing "")

# mesh_dependency(VARIABLE name
#   TARGETS names...     one of them is enough; with ALL, each is wanted
#   PACKAGE name         for find_package
#   PKG_CONFIG names...
#   DEBIAN, VCPKG, CONAN name   the package that brings it
# )
# VARIABLE becomes the targets to link, VARIABLE_FOUND_BY one of target, config,
# module and pkg-config, VARIABLE_VERSION the version if it is known.
function(mesh_dependency)
  cmake_parse_arguments(PARSE_ARGV 0 ARG
    "ALL" "VARIABLE;PACKAGE;DEBIAN;VCPKG;CONAN" "TARGETS;PKG_CONFIG")
  set(libraries "")

  macro(look_for_targets by)
    if(NOT libraries)
      set(libraries "")
      foreach(target IN LISTS ARG_TARGETS)
        if(TARGET ${target})
          list(APPEND libraries ${target})
          if(NOT ARG_ALL)
            break()
          endif()
        elseif(ARG_ALL)
          set(libraries "")
          break()
        endif()
      endforeach()
      set(found_by ${by})
    endif()
  endmacro()

  look_for_targets(target)
  if(NOT libraries)
    find_package(${ARG_PACKAGE} QUIET CONFIG)
    look_for_targets(config)
  endif()
  if(NOT libraries)
    find_package(${ARG_PACKAGE} QUIET MODULE)
    look_for_targets(module)
  endif()
  set(version "${${ARG_PACKAGE}_VERSION}")
  if(NOT libraries)
    find_package(PkgConfig QUIET)
    if(PKG_CONFIG_FOUND)
      set(module mesh_${ARG_VARIABLE})
      pkg_check_modules(${module} QUIET IMPORTED_TARGET ${ARG_PKG_CONFIG})
      if(${module}_FOUND)
        set(libraries PkgConfig::${module})
        set(found_by pkg-config)
        list(GET ARG_PKG_CONFIG 0 first)
        set(version "${${module}_VERSION}")
        if(NOT version)  # Of several modules, each has its own.
          set(version "${${module}_${first}_VERSION}")
        endif()
      endif()
    endif()
  endif()

  if(libraries)
    string(STRIP "${ARG_PACKAGE} ${version}" name)
    message(STATUS "mesh: ${name} (${found_by}): ${libraries}")
  else()
    list(JOIN ARG_TARGETS " or " targets)
    if(ARG_ALL)
      list(JOIN ARG_TARGETS ", " targets)
    endif()
    list(JOIN ARG_PKG_CONFIG " " modules)
    string(APPEND _mesh_missing
      "  ${ARG_PACKAGE}: looked for the target ${targets},"
      " by find_package(${ARG_PACKAGE}) and as ${modules} by pkg-config.\n"
      "    Debian: ${ARG_DEBIAN}   vcpkg: ${ARG_VCPKG}   Conan: ${ARG_CONAN}\n")
    set(_mesh_missing "${_mesh_missing}" PARENT_SCOPE)
  endif()
  set(${ARG_VARIABLE} "${libraries}" PARENT_SCOPE)
  set(${ARG_VARIABLE}_FOUND_BY "${found_by}" PARENT_SCOPE)
  set(${ARG_VARIABLE}_VERSION "${version}" PARENT_SCOPE)
endfunction()

# The directories that users of the first of `libraries` include from, as far as
# they are known now. The compiler's own come last.
function(mesh_include_directories variable libraries)
  list(GET libraries 0 library)
  get_target_property(directories ${library} INTERFACE_INCLUDE_DIRECTORIES)
  if(NOT directories)
    set(directories "")
  endif()
  string(REGEX REPLACE "\\$<BUILD_INTERFACE:([^>]*)>" "\\1"
    directories "${directories}")
  list(FILTER directories EXCLUDE REGEX "\\$<")
  list(APPEND directories ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
  set(${variable} "${directories}" PARENT_SCOPE)
endfunction()

# gRPC first: its config brings the Protobuf and the Abseil that it was built
# with.
mesh_dependency(VARIABLE MESH_GRPC
  TARGETS gRPC::grpc++ grpc++
  PACKAGE gRPC PKG_CONFIG grpc++
  DEBIAN libgrpc++-dev VCPKG grpc CONAN grpc)
mesh_dependency(VARIABLE MESH_PROTOBUF
  TARGETS protobuf::libprotobuf libprotobuf
  PACKAGE Protobuf PKG_CONFIG protobuf
  DEBIAN "libprotobuf-dev protobuf-compiler" VCPKG protobuf CONAN protobuf)
# What mesh's headers use, and what only its sources do.
mesh_dependency(VARIABLE MESH_ABSL_PUBLIC ALL
  TARGETS absl::span absl::status absl::statusor absl::strings
          absl::synchronization absl::time
  PACKAGE absl
  PKG_CONFIG absl_span absl_status absl_statusor absl_strings
             absl_synchronization absl_time
  DEBIAN libabsl-dev VCPKG abseil CONAN abseil)
mesh_dependency(VARIABLE MESH_ABSL_PRIVATE ALL
  TARGETS absl::base absl::bits absl::core_headers absl::flat_hash_map
          absl::hash absl::inlined_vector absl::str_format
  PACKAGE absl
  PKG_CONFIG absl_base absl_bits absl_core_headers absl_flat_hash_map absl_hash
             absl_inlined_vector absl_str_format
  DEBIAN libabsl-dev VCPKG abseil CONAN abseil)
mesh_dependency(VARIABLE MESH_OPENSSL ALL
  TARGETS OpenSSL::SSL OpenSSL::Crypto
  PACKAGE OpenSSL PKG_CONFIG openssl
  DEBIAN libssl-dev VCPKG openssl CONAN openssl)
mesh_dependency(VARIABLE MESH_YAML_CPP
  TARGETS yaml-cpp::yaml-cpp yaml-cpp
  PACKAGE yaml-cpp PKG_CONFIG yaml-cpp
  DEBIAN libyaml-cpp-dev VCPKG yaml-cpp CONAN yaml-cpp)
mesh_dependency(VARIABLE MESH_CARES
  TARGETS c-ares::cares c-ares::cares_shared c-ares::cares_static c-ares
  PACKAGE c-ares PKG_CONFIG libcares
  DEBIAN libc-ares-dev VCPKG c-ares CONAN c-ares)
mesh_dependency(VARIABLE MESH_THREADS
  TARGETS Threads::Threads
  PACKAGE Threads PKG_CONFIG threads
  DEBIAN libc6-dev VCPKG "none (the compiler's)" CONAN "none (the compiler's)")

# ---- protoc -----------------------------------------------------------------
# The one that belongs to the Protobuf that was found: code of another one does
# not compile against its headers.

# The version that Protobuf's headers have, as protoc would say it: "21.12" for
# 3021012.
function(mesh_protobuf_version variable)
  set(${variable} "" PARENT_SCOPE)
  mesh_include_directories(directories "${MESH_PROTOBUF}")
  foreach(directory IN LISTS directories)
    set(file "${directory}/google/protobuf/stubs/common.h")
    if(EXISTS "${file}")
      file(STRINGS "${file}" line REGEX "^#define GOOGLE_PROTOBUF_VERSION [0-9]+")
      if(line MATCHES "([0-9][0-9][0-9])([0-9][0-9][0-9])$")
        math(EXPR minor "1${CMAKE_MATCH_1} - 1000")
        math(EXPR patch "1${CMAKE_MATCH_2} - 1000")
        set(${variable} "${minor}.${patch}" PARENT_SCOPE)
      endif()
      return()
    endif()
  endforeach()
endfunction()

# Whether `program` is a protoc of `version`, or of any if that is empty.
function(mesh_is_protoc variable program version)
  execute_process(COMMAND "${program}" --version
    OUTPUT_VARIABLE said ERROR_QUIET RESULT_VARIABLE status)
  string(STRIP "${said}" said)
  if(status EQUAL 0 AND said MATCHES "^libprotoc [0-9.]+$" AND
     (version STREQUAL "" OR said MATCHES "[ .]${version}$"))
    set(${variable} TRUE PARENT_SCOPE)
  else()
    set(${variable} FALSE PARENT_SCOPE)
  endif()
endfunction()

# Where `target` is, empty if the parent project builds it.
function(mesh_location_of variable target)
  set(location "")
  get_target_property(imported ${target} IMPORTED)
  if(imported)
    get_target_property(configurations ${target} IMPORTED_CONFIGURATIONS)
    get_target_property(location ${target} IMPORTED_LOCATION)
    foreach(configuration IN LISTS configurations)
      if(NOT location)
        get_target_property(location ${target}
          IMPORTED_LOCATION_${configuration})
      endif()
    endforeach()
  endif()
  if(NOT location)
    set(location "")
  endif()
  set(${variable} "${location}" PARENT_SCOPE)
endfunction()

function(mesh_find_protoc)
  if(MESH_PROTOC)
    return()  # The user's.
  endif()
  mesh_protobuf_version(version)
  set(candidates "")
  foreach(target protobuf::protoc protoc)
    if(TARGET ${target})
      mesh_location_of(location ${target})
      if(location STREQUAL "")
        set(MESH_PROTOC $<TARGET_FILE:${target}> PARENT_SCOPE)
        return()
      endif()
      list(APPEND candidates "${location}")
    endif()
  endforeach()

  # Else the one in the same prefix as the headers, else what is in the path.
  mesh_include_directories(directories "${MESH_PROTOBUF}")
  foreach(directory IN LISTS directories)
    list(APPEND candidates "${directory}/../bin/protoc"
         "${directory}/../tools/protobuf/protoc")
  endforeach()
  find_program(MESH_PROTOC_IN_PATH protoc)
  mark_as_advanced(MESH_PROTOC_IN_PATH)
  list(APPEND candidates ${MESH_PROTOC_IN_PATH})
  set(others "")
  foreach(program IN LISTS candidates)
    if(EXISTS "${program}")
      get_filename_component(program "${program}" ABSOLUTE)
      mesh_is_protoc(right "${program}" "${version}")
      if(right)
        set(MESH_PROTOC "${program}" PARENT_SCOPE)
        return()
      endif()
      string(APPEND others " ${program} is of another version.")
    endif()
  endforeach()
  string(APPEND _mesh_missing
    "  protoc ${version}: looked for the target protobuf::protoc, beside the"
    " headers of Protobuf and in the path.${others}"
    " -DMESH_PROTOC=FILE names one.\n"
    "    Debian: protobuf-compiler   vcpkg: protobuf   Conan: protobuf\n")
  set(_mesh_missing "${_mesh_missing}" PARENT_SCOPE)
endfunction()

if(MESH_PROTOBUF)
  mesh_find_protoc()
endif()

if(_mesh_missing)
  message(FATAL_ERROR "mesh: dependencies are missing:\n${_mesh_missing}")
endif()
message(STATUS "mesh: protoc: ${MESH_PROTOC}")

# ---- gRPC's version ---------------------------------------------------------
# As its headers have it: that is what is compiled.

mesh_include_directories(_mesh_directories "${MESH_GRPC}")
foreach(_mesh_directory IN LISTS _mesh_directories)
  set(_mesh_file "${_mesh_directory}/grpcpp/version_info.h")
  if(EXISTS "${_mesh_file}")
    file(STRINGS "${_mesh_file}" _mesh_lines REGEX "_(MAJOR|MINOR|PATCH) ")
    string(REGEX MATCHALL "[0-9]+" MESH_GRPC_VERSION "${_mesh_lines}")
    list(JOIN MESH_GRPC_VERSION "." MESH_GRPC_VERSION)
    break()
  endif()
endforeach()

file(STRINGS "${PROJECT_SOURCE_DIR}/docs/grpc-versions.md" _mesh_lines
  REGEX "^\\| \\*\\*[0-9]+\\.[0-9]+\\*\\* \\|")
string(REGEX MATCHALL "\\*\\*[0-9]+\\.[0-9]+" _mesh_versions "${_mesh_lines}")
string(REPLACE "**" "" _mesh_versions "${_mesh_versions}")

string(REGEX MATCH "^[0-9]+\\.[0-9]+" _mesh_series "${MESH_GRPC_VERSION}")
if(NOT _mesh_series)
  message(STATUS
    "mesh: gRPC does not say its version; the compiler will see it")
elseif(NOT _mesh_series IN_LIST _mesh_versions AND NOT MESH_ANY_GRPC)
  list(JOIN _mesh_versions ", " _mesh_versions)
  message(FATAL_ERROR
    "mesh: gRPC ${MESH_GRPC_VERSION} is not a version that mesh is tested "
    "with. docs/grpc-versions.md lists: ${_mesh_versions}. "
    "-DMESH_ANY_GRPC=ON builds with another one all the same.")
endif()

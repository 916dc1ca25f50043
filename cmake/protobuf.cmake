# mesh_generate(VARIABLE PROTO...): C++ of .proto files of this tree, into
# MESH_GENERATED_DIR. VARIABLE becomes the sources. With GRPC as the last
# argument the stubs of services come along.
function(mesh_generate variable)
  set(protos ${ARGN})
  list(FIND protos GRPC grpc)
  list(REMOVE_ITEM protos GRPC)

  set(flags "-I${PROJECT_SOURCE_DIR}" "--cpp_out=${MESH_GENERATED_DIR}")
  # protoc finds its own .proto files by its place, which packagers change.
  mesh_include_directories(directories "${MESH_PROTOBUF}")
  foreach(directory IN LISTS directories)
    if(EXISTS "${directory}/google/protobuf/descriptor.proto")
      list(APPEND flags "-I${directory}")
      break()
    endif()
  endforeach()
  set(suffixes .pb)
  set(plugin "")
  if(NOT grpc EQUAL -1)
    mesh_find_grpc_plugin(plugin)
    list(APPEND flags "--grpc_out=${MESH_GENERATED_DIR}"
      "--plugin=protoc-gen-grpc=${plugin}")
    list(APPEND suffixes .grpc.pb)
  endif()

  file(MAKE_DIRECTORY "${MESH_GENERATED_DIR}")
  set(sources "")
  foreach(proto IN LISTS protos)
    string(REGEX REPLACE "\\.proto$" "" stem "${proto}")
    set(outputs "")
    foreach(suffix IN LISTS suffixes)
      list(APPEND sources "${MESH_GENERATED_DIR}/${stem}${suffix}.cc")
      list(APPEND outputs "${MESH_GENERATED_DIR}/${stem}${suffix}.cc"
        "${MESH_GENERATED_DIR}/${stem}${suffix}.h")
    endforeach()
    add_custom_command(OUTPUT ${outputs}
      COMMAND "${MESH_PROTOC}" ${flags} "${PROJECT_SOURCE_DIR}/${proto}"
      DEPENDS "${PROJECT_SOURCE_DIR}/${proto}"
      COMMENT "Generating C++ of ${proto}"
      COMMAND_EXPAND_LISTS VERBATIM)
  endforeach()
  set(${variable} ${sources} PARENT_SCOPE)
endfunction()

function(mesh_find_grpc_plugin variable)
  foreach(target gRPC::grpc_cpp_plugin grpc_cpp_plugin)
    if(TARGET ${target})
      set(${variable} $<TARGET_FILE:${target}> PARENT_SCOPE)
      return()
    endif()
  endforeach()
  find_program(MESH_GRPC_CPP_PLUGIN grpc_cpp_plugin)
  if(NOT MESH_GRPC_CPP_PLUGIN)
    message(FATAL_ERROR "mesh: no grpc_cpp_plugin: looked for the target "
      "gRPC::grpc_cpp_plugin and in the path. "
      "Debian: protobuf-compiler-grpc   vcpkg: grpc[codegen]   Conan: grpc")
  endif()
  set(${variable} "${MESH_GRPC_CPP_PLUGIN}" PARENT_SCOPE)
endfunction()

# Links the C++ of .proto files that are not the library's into `target`. Each
# file is compiled once. Stubs are made where there are services.
function(mesh_link_protos target)
  foreach(proto IN LISTS ARGN)
    string(MAKE_C_IDENTIFIER "mesh_${proto}" library)
    if(NOT TARGET ${library})
      file(STRINGS "${PROJECT_SOURCE_DIR}/${proto}" services REGEX "^service ")
      if(services)
        mesh_generate(sources ${proto} GRPC)
      else()
        mesh_generate(sources ${proto})
      endif()
      add_library(${library} STATIC ${sources})
      target_compile_features(${library} PUBLIC cxx_std_17)
      target_include_directories(${library} PUBLIC "${MESH_GENERATED_DIR}")
      target_link_libraries(${library} PUBLIC ${MESH_PUBLIC_LIBRARIES})
    endif()
    target_link_libraries(${target} PRIVATE ${library})
  endforeach()
endfunction()

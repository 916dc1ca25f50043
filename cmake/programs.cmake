# The unit tests (MESH_TESTS) and the examples (MESH_EXAMPLES).

# Links the archive: the shared library shows only the front door.
function(mesh_program target name)
  add_executable(${target} ${MESH_${name}_SOURCES})
  target_compile_definitions(${target} PRIVATE ${MESH_${name}_DEFINITIONS})
  target_link_libraries(${target} PRIVATE
    mesh::mesh_static ${MESH_PRIVATE_LIBRARIES} ${CMAKE_DL_LIBS} ${ARGN})
  mesh_link_protos(${target} ${MESH_${name}_PROTOS})
endfunction()

if(MESH_TESTS)
  mesh_dependency(VARIABLE MESH_GTEST ALL
    TARGETS GTest::gmock GTest::gtest GTest::gtest_main
    PACKAGE GTest PKG_CONFIG gmock gtest gtest_main
    DEBIAN "libgtest-dev libgmock-dev" VCPKG gtest CONAN gtest)
  if(_mesh_missing)
    message(FATAL_ERROR "mesh: MESH_TESTS wants:\n${_mesh_missing}")
  endif()
  enable_testing()
  foreach(_mesh_name IN LISTS MESH_TEST_PROGRAMS)
    mesh_program(mesh_${_mesh_name} ${_mesh_name} ${MESH_GTEST})
    add_test(NAME mesh_${_mesh_name} COMMAND mesh_${_mesh_name}
      WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
  endforeach()
endif()

if(MESH_EXAMPLES)
  foreach(_mesh_name IN LISTS MESH_EXAMPLE_PROGRAMS)
    mesh_program(mesh_example_${_mesh_name} ${_mesh_name})
    set_target_properties(mesh_example_${_mesh_name} PROPERTIES
      OUTPUT_NAME ${_mesh_name}
      RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/examples")
  endforeach()
endif()

# What `./run install` installs, in the same places.

foreach(_mesh_header IN LISTS MESH_PUBLIC_HEADERS)
  get_filename_component(_mesh_directory "${_mesh_header}" DIRECTORY)
  if(_mesh_header MATCHES "\\.pb\\.h$")
    set(_mesh_header "${MESH_GENERATED_DIR}/${_mesh_header}")
  endif()
  install(FILES "${_mesh_header}" DESTINATION "include/${_mesh_directory}")
endforeach()

# The others are of what mesh speaks by itself.
set(_mesh_public_protos ${MESH_PROTOS})
list(FILTER _mesh_public_protos INCLUDE REGEX "^mesh/v1/")
foreach(_mesh_proto IN LISTS _mesh_public_protos)
  get_filename_component(_mesh_directory "${_mesh_proto}" DIRECTORY)
  install(FILES "${_mesh_proto}"
    DESTINATION "share/mesh/proto/${_mesh_directory}")
endforeach()

# Not lib/TRIPLET: the files below find their prefix from lib/.
install(TARGETS mesh_static ARCHIVE DESTINATION lib)
install(TARGETS mesh_certs mesh_check RUNTIME DESTINATION bin)
if(MESH_SHARED)
  install(TARGETS mesh LIBRARY DESTINATION lib)
endif()

# They are made for the gRPC that mesh is tested with. With another one, no
# range is asked for, and the check in mesh/version.h is off for users, too.
function(mesh_install_template template name directory)
  set(VERSION ${PROJECT_VERSION})
  set(made "${PROJECT_BINARY_DIR}/packaging/${name}")
  configure_file("packaging/${template}" "${made}" @ONLY)
  if(MESH_ANY_GRPC)
    file(READ "${made}" text)
    string(REGEX REPLACE "grpc\\+\\+ [<>]=? [0-9.]+" "grpc++" text "${text}")
    string(REGEX REPLACE "(\nCflags:)" "\\1 -DMESH_ANY_GRPC=1" text "${text}")
    string(REPLACE "INTERFACE_COMPILE_FEATURES cxx_std_17"
      "INTERFACE_COMPILE_DEFINITIONS MESH_ANY_GRPC=1
    INTERFACE_COMPILE_FEATURES cxx_std_17" text "${text}")
    file(WRITE "${made}" "${text}")
  endif()
  install(FILES "${made}" DESTINATION "${directory}")
endfunction()

mesh_install_template(meshConfig.cmake.in meshConfig.cmake lib/cmake/mesh)
mesh_install_template(meshConfigVersion.cmake.in meshConfigVersion.cmake
  lib/cmake/mesh)
mesh_install_template(mesh-static.pc.in mesh-static.pc lib/pkgconfig)
if(MESH_SHARED)
  mesh_install_template(mesh.pc.in mesh.pc lib/pkgconfig)
else()
  mesh_install_template(mesh-static.pc.in mesh.pc lib/pkgconfig)
endif()

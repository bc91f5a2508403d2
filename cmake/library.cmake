# libkeyturn as others link it: the same objects as the command, with nothing
# exported but the public functions. Exports are the version script's alone to
# say, so no object hides its symbols by itself.
add_library(libkeyturn SHARED)
set_target_properties(libkeyturn PROPERTIES
  OUTPUT_NAME keyturn
  VERSION ${PROJECT_VERSION}
  SOVERSION 0
  LINK_DEPENDS ${PROJECT_SOURCE_DIR}/src/core/libkeyturn.map
  VERIFY_INTERFACE_HEADER_SETS ON)
target_link_libraries(libkeyturn PRIVATE kt_engine)
target_link_options(libkeyturn PRIVATE
  -Wl,--version-script=${PROJECT_SOURCE_DIR}/src/core/libkeyturn.map)
if(NOT KEYTURN_SANITIZE)
  # A sanitizer's own symbols come from the executable.
  target_link_options(libkeyturn PRIVATE -Wl,-z,defs)
endif()

target_sources(libkeyturn PUBLIC
  FILE_SET HEADERS
  BASE_DIRS ${PROJECT_SOURCE_DIR}/include
  FILES
    ${PROJECT_SOURCE_DIR}/include/keyturn/audit.h
    ${PROJECT_SOURCE_DIR}/include/keyturn/error.h
    ${PROJECT_SOURCE_DIR}/include/keyturn/keyturn.h
    ${PROJECT_SOURCE_DIR}/include/keyturn/project.h
    ${PROJECT_SOURCE_DIR}/include/keyturn/rotation.h
    ${PROJECT_SOURCE_DIR}/include/keyturn/secret.h
    ${PROJECT_SOURCE_DIR}/include/keyturn/types.h
    ${PROJECT_SOURCE_DIR}/include/keyturn/vault.h)

# What `cmake --install` puts where. Manual pages are docs/man's own.
install(TARGETS keyturn RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS keyturn-worker
  RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/keyturn)
install(TARGETS libkeyturn
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

file(RELATIVE_PATH keyturn_prefix
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" keyturn_prefix "${keyturn_prefix}")
configure_file(keyturn.pc.in keyturn.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/keyturn.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES conf/keyturn.yaml README.md LICENSE
  DESTINATION ${CMAKE_INSTALL_DOCDIR})

# The completions are printed by the command itself, from its own table.
function(kt_completion shell name folder)
  set(file ${PROJECT_BINARY_DIR}/completion/${shell}/${name})
  add_custom_command(OUTPUT ${file}
    COMMAND ${CMAKE_COMMAND} -E make_directory
      ${PROJECT_BINARY_DIR}/completion/${shell}
    COMMAND keyturn completion ${shell} > ${file}
    DEPENDS keyturn
    VERBATIM)
  add_custom_target(completion-${shell} ALL DEPENDS ${file})
  install(FILES ${file} DESTINATION ${CMAKE_INSTALL_DATADIR}/${folder})
endfunction()

kt_completion(bash keyturn bash-completion/completions)
kt_completion(zsh _keyturn zsh/site-functions)
kt_completion(fish keyturn.fish fish/vendor_completions.d)

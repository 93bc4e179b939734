# What `cmake --install` puts where: the library, its headers, and how CMake and pkg-config find it.
# No installed file names a folder of this machine, so the tree may be moved as a whole.
get_target_property(fmt_is_imported fmt::fmt IMPORTED)
if(NOT fmt_is_imported)
    message(STATUS "rondo: cannot be installed: fmt was fetched, and users would not find it")
    return()
endif()

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
find_package(fmt CONFIG QUIET REQUIRED)  # for its version
get_target_property(rondo_type rondo TYPE)
# Its major number is part of the names of its functions, in the library as in users' programs.
string(REGEX MATCH "^[0-9]+" rondo_fmt_major ${fmt_VERSION})
math(EXPR rondo_fmt_next "${rondo_fmt_major} + 1")

set(rondo_package ${CMAKE_INSTALL_LIBDIR}/cmake/rondo)
install(TARGETS rondo EXPORT rondo
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY rondo DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")

install(EXPORT rondo NAMESPACE rondo:: DESTINATION ${rondo_package} FILE rondoTargets.cmake)
configure_package_config_file(cmake/rondoConfig.cmake.in rondoConfig.cmake
                              INSTALL_DESTINATION ${rondo_package}
                              NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(rondoConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/rondoConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/rondoConfigVersion.cmake
        DESTINATION ${rondo_package})
if(rondo_type STREQUAL STATIC_LIBRARY)
    install(FILES cmake/Findliburing.cmake DESTINATION ${rondo_package})
endif()

# A static library is all that is installed then, so whoever links it needs liburing, asked for
# --static or not.
set(rondo_pc_folder ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
set(rondo_pc_requires "Requires: fmt >= ${rondo_fmt_major}, fmt < ${rondo_fmt_next}")
if(rondo_type STREQUAL STATIC_LIBRARY)
    string(APPEND rondo_pc_requires ", liburing >= ${rondo_liburing_floor}")
else()
    string(APPEND rondo_pc_requires "\nRequires.private: liburing >= ${rondo_liburing_floor}")
endif()
set(rondo_pc_prefix ${CMAKE_INSTALL_PREFIX})
set(rondo_pc_libdir ${CMAKE_INSTALL_FULL_LIBDIR})
set(rondo_pc_includedir ${CMAKE_INSTALL_FULL_INCLUDEDIR})
if(NOT IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
    file(RELATIVE_PATH up /${rondo_pc_folder} /)
    string(REGEX REPLACE "/$" "" rondo_pc_prefix "\${pcfiledir}/${up}")
    set(rondo_pc_libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
if(NOT IS_ABSOLUTE ${CMAKE_INSTALL_INCLUDEDIR})
    set(rondo_pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(cmake/rondo.pc.in rondo.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/rondo.pc DESTINATION ${rondo_pc_folder})

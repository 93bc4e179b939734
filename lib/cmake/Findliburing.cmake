# Finds liburing: by pkg-config where there is one, else by header and library. Defines the target
# liburing::liburing. Used by rondo's build and, installed beside its package files, by its users'.
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
    pkg_check_modules(PC_LIBURING QUIET IMPORTED_TARGET GLOBAL liburing)
endif()

if(TARGET PkgConfig::PC_LIBURING)
    set(liburing_LIBRARY ${PC_LIBURING_LINK_LIBRARIES})
    set(liburing_VERSION ${PC_LIBURING_VERSION})
else()
    find_path(liburing_INCLUDE_DIR liburing.h)
    find_library(liburing_LIBRARY uring)
    mark_as_advanced(liburing_INCLUDE_DIR liburing_LIBRARY)
    # The oldest that we take does not say its version. Its own calls tell it from those before.
    set(version_header "${liburing_INCLUDE_DIR}/liburing/io_uring_version.h")
    if(EXISTS "${version_header}")
        file(STRINGS "${version_header}" lines REGEX "IO_URING_VERSION_M(AJOR|INOR)[ \t]+[0-9]+")
        string(REGEX MATCHALL "[0-9]+" numbers "${lines}")
        string(REPLACE ";" "." liburing_VERSION "${numbers}")
    elseif(EXISTS "${liburing_INCLUDE_DIR}/liburing.h")
        file(STRINGS "${liburing_INCLUDE_DIR}/liburing.h" calls
             REGEX "io_uring_register_sync_cancel")
        if(calls)
            set(liburing_VERSION 2.3)
        else()
            set(liburing_VERSION 2.2)
        endif()
    endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(liburing REQUIRED_VARS liburing_LIBRARY
                                  VERSION_VAR liburing_VERSION)

if(liburing_FOUND AND NOT TARGET liburing::liburing)
    add_library(liburing::liburing INTERFACE IMPORTED GLOBAL)
    if(TARGET PkgConfig::PC_LIBURING)
        target_link_libraries(liburing::liburing INTERFACE PkgConfig::PC_LIBURING)
    else()
        target_include_directories(liburing::liburing INTERFACE ${liburing_INCLUDE_DIR})
        target_link_libraries(liburing::liburing INTERFACE ${liburing_LIBRARY})
    endif()
endif()

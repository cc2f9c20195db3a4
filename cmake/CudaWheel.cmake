# CUDA as a language of the project, from Python wheels: nvcc beside torch's own CUDA libraries and headers. A CUDA
# toolkit of the system is neither needed nor looked at, so every machine builds the same code with the same compiler.
# The targets: `cuda_runtime`, the runtime's headers and library. Input: TORCH_WHEEL_DIR.
set(GLIMPSE_CUDA_VERSION 13.0)

cmake_path(GET TORCH_WHEEL_DIR PARENT_PATH CUDA_WHEEL_DIR)
cmake_path(APPEND CUDA_WHEEL_DIR nvidia cu13)
if(NOT EXISTS ${CUDA_WHEEL_DIR}/bin/nvcc)
  message(FATAL_ERROR "no nvcc in ${CUDA_WHEEL_DIR}: run docker/install-deps.sh")
endif()

set(CMAKE_CUDA_COMPILER ${CUDA_WHEEL_DIR}/bin/nvcc)
set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER})
# 90a, not 90: the kernels use Hopper's own instructions (wgmma, TMA), which no other architecture has.
set(CMAKE_CUDA_ARCHITECTURES 90a-real)
set(CMAKE_CUDA_RUNTIME_LIBRARY None)  # nvcc would look for a static one; cuda_runtime names the library
# CMake's check of the compiler links a program; the wheel keeps its libraries where nvcc does not look.
set(ENV{LIBRARY_PATH} ${CUDA_WHEEL_DIR}/lib)
enable_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER_VERSION MATCHES "^${GLIMPSE_CUDA_VERSION}\\.")
  message(FATAL_ERROR "nvcc ${CMAKE_CUDA_COMPILER_VERSION} found, ${GLIMPSE_CUDA_VERSION} needed")
endif()
set(CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES "")
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that this nvcc takes C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  list(APPEND CMAKE_CUDA_COMPILE_FEATURES cuda_std_20)
endif()

add_library(cuda_runtime INTERFACE)
# nvcc knows its own; without the path in its command, checkouts share what ccache keeps.
target_include_directories(cuda_runtime SYSTEM INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:${CUDA_WHEEL_DIR}/include>)
target_link_libraries(cuda_runtime INTERFACE
  ${CUDA_WHEEL_DIR}/lib/libcudart.so.13 "-Wl,-rpath,${CUDA_WHEEL_DIR}/lib")
target_link_libraries(torch_wheel INTERFACE cuda_runtime)

add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-Werror=all-warnings>"
                    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Werror>")

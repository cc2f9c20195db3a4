# libtorch from the Python wheel, as the target `torch_wheel`: headers, libraries and the run path to them.
#
# Not find_package(Torch): the wheel's own CMake files ask for the whole CUDA toolkit even where nothing is compiled
# for a GPU. This needs the wheel alone, and the programs run on the CPU or on a GPU, whichever they find.
# Input: GLIMPSE_PYTHON, the interpreter of the environment that holds torch.
set(GLIMPSE_PYTHON "python3" CACHE STRING "Python interpreter of the environment that holds torch")
set(GLIMPSE_TORCH_VERSION 2.11.0)

execute_process(
  COMMAND ${GLIMPSE_PYTHON} -c
          "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
  OUTPUT_VARIABLE TORCH_WHEEL_DIR OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(TORCH_WHEEL_DIR)
  file(STRINGS ${TORCH_WHEEL_DIR}/version.py TORCH_WHEEL_VERSION_LINE REGEX "^__version__")
  string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" TORCH_WHEEL_VERSION "${TORCH_WHEEL_VERSION_LINE}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TorchWheel
  REQUIRED_VARS TORCH_WHEEL_DIR VERSION_VAR TORCH_WHEEL_VERSION
  REASON_FAILURE_MESSAGE "run docker/install-deps.sh, or give -DGLIMPSE_PYTHON=<python with torch>")
if(TorchWheel_FOUND AND NOT TORCH_WHEEL_VERSION VERSION_EQUAL GLIMPSE_TORCH_VERSION)
  message(FATAL_ERROR "torch ${TORCH_WHEEL_VERSION} found, ${GLIMPSE_TORCH_VERSION} needed")
endif()

if(TorchWheel_FOUND AND NOT TARGET torch_wheel)
  set(libraries ${TORCH_WHEEL_DIR}/lib)
  add_library(torch_wheel INTERFACE)
  target_include_directories(torch_wheel SYSTEM INTERFACE ${TORCH_WHEEL_DIR}/include)
  # libtorch_cuda registers the CUDA backend when it is loaded; nothing refers to it by symbol. One word, because
  # CMake would take repeated flags apart.
  target_link_libraries(torch_wheel INTERFACE
    ${libraries}/libtorch_cpu.so ${libraries}/libc10.so
    -Wl,--push-state,--no-as-needed,${libraries}/libtorch_cuda.so,${libraries}/libc10_cuda.so,--pop-state
    -Wl,-rpath,${libraries} -Wl,--allow-shlib-undefined)
endif()

# The CUDA kernels, lenskern._kernels._cuda: option LENSKERN_CUDA. They need nvcc to build, and a driver only to run.
if(NOT LENSKERN_CUDA)
  return()
endif()
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(NOT LENSKERN_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "lenskern: no working nvcc was found; install the CUDA toolkit, name its compiler in CUDACXX, or "
                        "set LENSKERN_CUDA=OFF to install without the CUDA kernels.")
  endif()
  message(STATUS "lenskern: installing without the CUDA kernels (LENSKERN_CUDA=${LENSKERN_CUDA})")
  return()
endif()

enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12)
  if(NOT LENSKERN_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "lenskern: the CUDA kernels need nvcc 12 or newer, found ${CMAKE_CUDA_COMPILER_VERSION}; install a "
                        "newer CUDA toolkit or set LENSKERN_CUDA=OFF.")
  endif()
  message(STATUS "lenskern: installing without the CUDA kernels (nvcc ${CMAKE_CUDA_COMPILER_VERSION}, 12 is needed)")
  return()
endif()
set(CMAKE_CUDA_STANDARD 17)  # the most that CMake 3.25 knows of nvcc 13
# Machine code for A100 and H100/H200, and PTX that the driver compiles for what comes later.
set(LENSKERN_CUDA_ARCHITECTURES 80-real 90-real 90-virtual CACHE STRING "As CMAKE_CUDA_ARCHITECTURES")
set(CMAKE_CUDA_ARCHITECTURES ${LENSKERN_CUDA_ARCHITECTURES})
string(REGEX REPLACE "([0-9]+)-real" "sm_\\1" cuda_architectures "${LENSKERN_CUDA_ARCHITECTURES}")
string(REGEX REPLACE "[0-9]+-virtual" "PTX" cuda_architectures "${cuda_architectures}")
list(JOIN cuda_architectures ", " cuda_architectures)

# A device function is compiled once, not once in each kernel: that is what makes nvcc take seconds.
add_library(lenskern_cuda OBJECT kernels/cuda/deflect_float32.cu kernels/cuda/deflect_float64.cu
                                 kernels/cuda/macro.cu kernels/cuda/poisson.cu
                                 kernels/cuda/nnls_small.cu
                                 kernels/cuda/nnls_large_float32.cu kernels/cuda/nnls_large_float64.cu)
target_include_directories(lenskern_cuda PRIVATE kernels/include kernels/cuda)
# 128 registers leave room for two blocks on a multiprocessor; the driver hears of it too when it compiles the PTX.
target_compile_options(lenskern_cuda PRIVATE -Xfatbin=-compress-all -maxrregcount=128 -Xcompiler=-fvisibility=hidden)
set_target_properties(lenskern_cuda PROPERTIES CUDA_SEPARABLE_COMPILATION ON)

set(cuda_handlers kernels/cuda/ffi_deflect.cc kernels/cuda/ffi_nnls.cc kernels/cuda/ffi_macro.cc
                  kernels/cuda/ffi_poisson.cc)
if(LENSKERN_BINDINGS STREQUAL "ctypes")
  add_library(_cuda MODULE kernels/cuda/plain.cc ${cuda_handlers})
  set_target_properties(_cuda PROPERTIES PREFIX "" OUTPUT_NAME _cuda_library)
  install(FILES kernels/cuda/plain.py DESTINATION lenskern/_kernels RENAME _cuda.py)
else()
  pybind11_add_module(_cuda MODULE NO_EXTRAS kernels/cuda/module.cc ${cuda_handlers})
endif()
target_include_directories(_cuda PRIVATE kernels/include kernels/cuda
                           ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
target_include_directories(_cuda SYSTEM PRIVATE "${xla_ffi_include}")
target_compile_definitions(_cuda PRIVATE LENSKERN_CUDA_ARCHITECTURES="${cuda_architectures}")
target_compile_options(_cuda PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-O2 -Wall -Wextra>)
target_link_libraries(_cuda PRIVATE lenskern_cuda)
set_target_properties(_cuda PROPERTIES CUDA_SEPARABLE_COMPILATION ON CUDA_RESOLVE_DEVICE_SYMBOLS ON CUDA_RUNTIME_LIBRARY Static)

install(TARGETS _cuda LIBRARY DESTINATION lenskern/_kernels)

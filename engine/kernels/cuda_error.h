// CUDA's errors as exceptions, until Engine makes a Status of them.
#ifndef GLIMPSE_ENGINE_KERNELS_CUDA_ERROR_H_
#define GLIMPSE_ENGINE_KERNELS_CUDA_ERROR_H_

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace glimpse {

class CudaError : public std::runtime_error {
 public:
  CudaError(cudaError_t code, const char* what)
      : std::runtime_error(std::string(what) + ": " + cudaGetErrorString(code)), code_(code) {}
  cudaError_t code() const { return code_; }

 private:
  cudaError_t code_;
};

// `what` names the call for the operator's log.
inline void CheckCuda(cudaError_t code, const char* what) {
  if (code != cudaSuccess) throw CudaError(code, what);
}

}  // namespace glimpse

#endif  // GLIMPSE_ENGINE_KERNELS_CUDA_ERROR_H_

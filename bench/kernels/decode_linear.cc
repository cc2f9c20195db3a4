// The products of a decode step, on the 9B's sizes, and cuBLAS' of the same matrices.
#include "engine/kernels/decode_linear.h"

#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "bench/kernels/cases.h"

namespace glimpse::bench {
namespace {

using kernels::bf16;
using kernels::LinearOperands;
using kernels::MatrixShape;

constexpr int kHidden = 4096;
constexpr int kFfn = 13696;
constexpr int kHeads = 32;
constexpr int kKvHeads = 2;
constexpr int kVocabulary = 151552;

template <typename Finish>
struct Product {
  LinearOperands linear;
  Finish finish;
};
template <typename Finish>
void Launch(const Product<Finish>& product, cudaStream_t stream) {
  kernels::Launch(product.linear, product.finish, stream);
}

struct Matrix {
  const char* name;
  MatrixShape shape;  // as stored: gate and up are two times 13696 rows
};
constexpr Matrix kQkv = {"qkv", {(kHeads + 2 * kKvHeads) * kernels::kHeadSize, kHidden}};
constexpr Matrix kDense = {"dense", {kHidden, kHidden}};
constexpr Matrix kGateUp = {"h_to_4h", {2 * kFfn, kHidden}};
constexpr Matrix kDown = {"4h_to_h", {kHidden, kFfn}};
constexpr Matrix kHead = {"head", {kVocabulary, kHidden}};

template <typename Args, typename Make>
Case MakeCase(const char* kernel, const Matrix& matrix, int rows, Make make) {
  auto memory = std::make_shared<DeviceMemory>();
  const double bytes = 2.0 * matrix.shape.out * matrix.shape.in;
  std::vector<Args> turns;
  for (int i = Turns(bytes); i > 0; --i) turns.push_back(make(memory.get()));
  return {
      kernel,
      absl::StrFormat("%s %d x %d, %d rows", matrix.name, matrix.shape.out, matrix.shape.in, rows),
      bytes,
      bytes * rows,
      memory,
      InTurn(std::move(turns))};
}

bf16* Weights(const Matrix& matrix, DeviceMemory* memory) {
  return memory->Random(int64_t{matrix.shape.out} * matrix.shape.in, 0.02f);
}

LinearOperands Plain(const Matrix& matrix, int rows, DeviceMemory* memory,
                     decltype(kernels::MakeLinear)* make = kernels::MakeLinear) {
  return make(Weights(matrix, memory), matrix.shape,
              memory->Random(int64_t{rows} * matrix.shape.in), rows);
}

Case QkvCase(int rows) {
  return MakeCase<Product<kernels::QkvFinish>>("decode_linear", kQkv, rows, [=](auto* memory) {
    std::vector<int32_t> places(rows);
    std::iota(places.begin(), places.end(), 0);
    kernels::QkvFinish finish;
    finish.bias = memory->Random(kQkv.shape.out);
    finish.cos = finish.sin = memory->template Zeros<float>(rows * kernels::kRotaryPairs);
    finish.positions = finish.cache_rows = memory->Copy(places);
    finish.q = memory->template Zeros<bf16>(rows * kHeads * kernels::kHeadSize);
    finish.keys = memory->template Zeros<bf16>(rows * kKvHeads * 128);
    finish.values = memory->template Zeros<bf16>(rows * kKvHeads * 128);
    finish.heads = kHeads;
    finish.kv_heads = kKvHeads;
    return Product<kernels::QkvFinish>{Plain(kQkv, rows, memory), finish};
  });
}

Case ResidualCase(const Matrix& matrix, int rows) {
  return MakeCase<Product<kernels::ResidualFinish>>(
      "decode_linear", matrix, rows, [&](auto* memory) {
        kernels::ResidualFinish finish;
        finish.residual = memory->template Zeros<float>(rows * kHidden);
        finish.weight = memory->Random(kHidden);
        finish.x = memory->template Zeros<bf16>(rows * kHidden);
        finish.sum_squares = memory->template Zeros<float>(rows * kHidden / kernels::kLinearTile);
        finish.out = kHidden;
        return Product<kernels::ResidualFinish>{Plain(matrix, rows, memory), finish};
      });
}

Case SwigluCase(int rows) {
  return MakeCase<Product<kernels::SwigluFinish>>(
      "decode_linear", kGateUp, rows, [=](auto* memory) {
        const bf16* x = memory->Random(int64_t{rows} * kHidden);
        return Product<kernels::SwigluFinish>{
            kernels::MakeGatedLinear(Weights(kGateUp, memory), {kFfn, kHidden}, x, rows),
            {memory->template Zeros<bf16>(rows * kFfn), kFfn}};
      });
}

Case LogitsCase(int rows) {
  return MakeCase<Product<kernels::LogitsFinish>>("decode_linear", kHead, rows, [=](auto* memory) {
    return Product<kernels::LogitsFinish>{
        Plain(kHead, rows, memory, kernels::MakeHeadLinear),
        {memory->template Zeros<float>(int64_t{rows} * kVocabulary), kVocabulary}};
  });
}

Case LibraryCase(const Matrix& matrix, int rows) {
  return MakeCase<LibraryProduct>("cuBLAS", matrix, rows, [&](auto* memory) {
    const auto [out, in] = matrix.shape;
    return LibraryProduct{memory->Random(int64_t{rows} * in),
                          Weights(matrix, memory),
                          memory->template Zeros<bf16>(int64_t{rows} * out),
                          rows,
                          out,
                          in};
  });
}

}  // namespace

std::vector<Case> DecodeLinearCases() {
  std::vector<Case> cases;
  for (const int rows : {8, 16, 32, 64}) {
    cases.push_back(QkvCase(rows));
    cases.push_back(ResidualCase(kDense, rows));
    cases.push_back(SwigluCase(rows));
    cases.push_back(ResidualCase(kDown, rows));
    cases.push_back(LogitsCase(rows));
    for (const Matrix& matrix : {kQkv, kDense, kGateUp, kDown, kHead}) {
      cases.push_back(LibraryCase(matrix, rows));
    }
  }
  return cases;
}

}  // namespace glimpse::bench

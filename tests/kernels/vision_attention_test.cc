// VisionAttention against the formula, and what its work-sharing must not change.
#include <cstring>

#include "engine/kernels/kernels.h"
#include "tests/kernels/kernel_test.h"

namespace glimpse::kernels {
namespace {

struct Shape {
  int pictures, rows, heads;
  size_t Size() const { return static_cast<size_t>(pictures) * rows * heads * kVisionHeadSize; }
};

DeviceArray<char> Workspace() {
  return DeviceArray<char>(std::vector<char>(VisionAttentionWorkspaceBytes()));
}

// Where channel 0 of q (part 0), k (1) or v (2) is.
size_t Offset(const Shape& shape, int picture, int row, int part, int head) {
  const size_t rows = static_cast<size_t>(picture) * shape.rows + row;
  return ((rows * 3 + part) * shape.heads + head) * kVisionHeadSize;
}

// out[picture, row, head], a row of the formula.
std::vector<double> ExpectedRow(const std::vector<bf16>& qkv, const Shape& shape, int picture,
                                int row, int head) {
  std::vector<double> out(kVisionHeadSize);
  double sum = 0;
  for (int key = 0; key < shape.rows; ++key) {
    double score = 0;
    for (int c = 0; c < kVisionHeadSize; ++c) {
      score += double{ToFloat(qkv[Offset(shape, picture, row, 0, head) + c])} *
               ToFloat(qkv[Offset(shape, picture, key, 1, head) + c]);
    }
    const double weight = std::exp(score / std::sqrt(kVisionHeadSize));
    sum += weight;
    for (int c = 0; c < kVisionHeadSize; ++c) {
      out[c] += weight * ToFloat(qkv[Offset(shape, picture, key, 2, head) + c]);
    }
  }
  for (double& value : out) value /= sum;
  return out;
}

std::vector<double> Expected(const std::vector<bf16>& qkv, const Shape& shape) {
  std::vector<double> out;
  for (int picture = 0; picture < shape.pictures; ++picture) {
    for (int row = 0; row < shape.rows; ++row) {
      for (int head = 0; head < shape.heads; ++head) {
        const auto values = ExpectedRow(qkv, shape, picture, row, head);
        out.insert(out.end(), values.begin(), values.end());
      }
    }
  }
  return out;
}

std::vector<bf16> Run(const std::vector<bf16>& qkv, const Shape& shape, void* workspace) {
  const DeviceArray<bf16> input(qkv), out(shape.Size());
  Launch(VisionAttention{.qkv = input.data(),
                         .out = out.data(),
                         .pictures = shape.pictures,
                         .rows = shape.rows,
                         .heads = shape.heads,
                         .head_size = kVisionHeadSize,
                         .workspace = workspace},
         nullptr);
  return out.ToHost();
}

// The weights are rounded to bf16 before they multiply values of size 1.
constexpr double kRoundedWeights = 4e-3;

TEST_CASE("vision attention is softmax(q k / sqrt(112)) v within each picture", "[gpu]") {
  const Shape shape = GENERATE(Shape{1, 1, 1}, Shape{3, 5, 2}, Shape{1, 65, 3}, Shape{2, 131, 2},
                               Shape{1, 384, 2}, Shape{1, 705, 1});
  CAPTURE(shape.pictures, shape.rows, shape.heads);
  const auto qkv = RandomBf16(3 * shape.Size(), shape.rows, 1.5);
  const auto workspace = Workspace();
  CheckClose(Run(qkv, shape, workspace.data()), Expected(qkv, shape), 1.05, 1.5 * kRoundedWeights);
}

TEST_CASE("vision attention at the model's size is right, first row to last", "[gpu]") {
  const Shape shape{1, 6401, 16};
  const auto qkv = RandomBf16(3 * shape.Size(), 1);
  const auto workspace = Workspace();
  const auto out = Run(qkv, shape, workspace.data());
  for (const int row : {0, 127, 128, 3003, 6271, 6399, 6400}) {
    for (const int head : {0, 7, 15}) {
      CAPTURE(row, head);
      const size_t first = (static_cast<size_t>(row) * shape.heads + head) * kVisionHeadSize;
      CheckClose({out.begin() + first, out.begin() + first + kVisionHeadSize},
                 ExpectedRow(qkv, shape, 0, row, head), 1.05, kRoundedWeights);
    }
  }
}

TEST_CASE("vision attention gives the same bits each time on the same workspace", "[gpu]") {
  const Shape shape{1, 2100, 13};  // 143 tiles on 132 blocks: most tiles whole, the rest cut
  const auto qkv = RandomBf16(3 * shape.Size(), 2);
  const auto workspace = Workspace();
  const auto first = Run(qkv, shape, workspace.data());
  for (int i = 0; i < 5; ++i) {
    const auto again = Run(qkv, shape, workspace.data());
    REQUIRE(std::memcmp(first.data(), again.data(), first.size() * sizeof(bf16)) == 0);
  }
}

TEST_CASE("one picture's infinite values stay out of the next one's rows", "[gpu]") {
  const Shape shape{2, 129, 2};  // the key tile that has row 128 reaches into the next picture
  auto qkv = RandomBf16(3 * shape.Size(), 3);
  const auto expected = Expected(qkv, shape);
  for (size_t i = qkv.size() / 2; i < qkv.size(); ++i) qkv[i] = __float2bfloat16(INFINITY);
  const auto workspace = Workspace();
  const auto out = Run(qkv, shape, workspace.data());
  const size_t half = shape.Size() / 2;
  CheckClose({out.begin(), out.begin() + half}, {expected.begin(), expected.begin() + half}, 1.05,
             kRoundedWeights);
}

}  // namespace
}  // namespace glimpse::kernels

#include "engine/step_buffers.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>

#include "preprocess/check.h"

namespace glimpse {

struct StepBuffers::Lists {
  std::vector<int64_t> tokens, positions, write_rows, lengths, sample_rows;
  std::vector<PrefillSpan> spans;
  std::vector<ImageSpan> images;

  void AddPadding(StepKind kind, const KvCache& cache) {
    lengths.push_back(0);
    if (kind != StepKind::kDecode) return;
    tokens.push_back(0);
    positions.push_back(0);
    write_rows.push_back(cache.TrashRow());
  }

  void AddRow(const StepRow& row, const KvCache& cache) {
    const int64_t first = static_cast<int64_t>(tokens.size());
    const int64_t count = static_cast<int64_t>(row.tokens.size());
    GLIMPSE_CHECK(count > 0 && row.positions.size() == row.tokens.size(),
                  "a row needs tokens, and a position for each");
    for (int64_t i = 0; i < count; ++i) {
      if (IsImageRow(row.tokens[i])) AddImageRow(row.slot, ImageRowIndex(row.tokens[i]));
      tokens.push_back(std::max(row.tokens[i], 0));
      positions.push_back(row.positions[i]);
      write_rows.push_back(cache.RowOf(row.blocks, row.kv_length + i));
    }
    spans.push_back({static_cast<int64_t>(lengths.size()), first, count, row.kv_length});
    lengths.push_back(row.kv_length + count);
  }

  // Of the token that is added next.
  void AddImageRow(int slot, int64_t image_row) {
    const int64_t token = static_cast<int64_t>(tokens.size());
    if (!images.empty()) {
      ImageSpan& last = images.back();
      if (last.slot == slot && last.first_token + last.num_rows == token &&
          last.first_row + last.num_rows == image_row) {
        ++last.num_rows;
        return;
      }
    }
    images.push_back({slot, token, image_row, 1});
  }

  void AddSamples(const StepRow& row, bool all_logits) {
    const int64_t end = static_cast<int64_t>(tokens.size());
    const int64_t count = static_cast<int64_t>(row.tokens.size());
    const int64_t first = all_logits ? end - count : (row.samples ? end - 1 : end);
    for (int64_t i = first; i < end; ++i) sample_rows.push_back(i);
  }
};

namespace {

// [rows, width], row after row; a padding row has no block.
std::vector<int64_t> BlockTable(const StepPlan& plan, size_t width) {
  std::vector<int64_t> table(plan.rows.size() * width, 0);
  for (size_t row = 0; row < plan.rows.size(); ++row) {
    if (plan.rows[row].slot < 0) continue;
    const std::vector<int32_t>& blocks = plan.rows[row].blocks;
    const size_t used = std::min(blocks.size(), width);
    std::copy_n(blocks.begin(), used, table.begin() + static_cast<int64_t>(row * width));
  }
  return table;
}

}  // namespace

void StepBuffers::Fill(const StepPlan& plan, const KvCache& cache, bool all_logits) {
  Lists lists;
  for (const StepRow& row : plan.rows) {
    if (row.slot < 0) {
      lists.AddPadding(plan.kind, cache);
      continue;
    }
    lists.AddRow(row, cache);
    lists.AddSamples(row, all_logits);
  }
  GLIMPSE_CHECK(plan.kind != StepKind::kDecode || lists.tokens.size() == plan.rows.size(),
                "a decode row is one token");

  inputs_.longest = 1;
  for (int64_t length : lists.lengths) inputs_.longest = std::max(inputs_.longest, length);
  const int64_t width = (inputs_.longest + cache.block_size() - 1) / cache.block_size();
  const int64_t rows = static_cast<int64_t>(plan.rows.size());

  inputs_.tokens = tokens_.Set(lists.tokens, device_);
  inputs_.positions = positions_.Set(lists.positions, device_);
  inputs_.write_rows = write_rows_.Set(lists.write_rows, device_);
  inputs_.lengths = lengths_.Set(lists.lengths, device_);
  inputs_.sample_rows = sample_rows_.Set(lists.sample_rows, device_);
  inputs_.block_table =
      block_table_.Set(BlockTable(plan, static_cast<size_t>(width)), device_).view({rows, width});
  inputs_.spans = plan.kind == StepKind::kDecode ? std::vector<PrefillSpan>() : lists.spans;
  inputs_.images = std::move(lists.images);
}

at::Tensor StepBuffers::Array::Set(const std::vector<int64_t>& values, at::Device device) {
  const int64_t count = static_cast<int64_t>(values.size());
  if (!storage_.defined() || storage_.numel() < count) {
    storage_ = at::empty({count}, at::TensorOptions().dtype(at::kLong).device(device));
  }
  at::Tensor used = storage_.narrow(0, 0, count);
  // Not written through: from_blob has no const form.
  void* host = const_cast<int64_t*>(values.data());
  used.copy_(at::from_blob(host, {count}, at::TensorOptions().dtype(at::kLong)));
  return used;
}

}  // namespace glimpse

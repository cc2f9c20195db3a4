#include "engine/gpu_inputs.h"

#include <algorithm>

#include "preprocess/check.h"

namespace glimpse {
namespace {

static_assert(kLastToken == kernels::kFromSlot);

kernels::SampleRow SamplingOf(const StepRow& row) {
  kernels::SampleRow sampling;
  sampling.slot = row.slot;
  sampling.top_k = row.sampling.top_k;
  sampling.temperature = row.sampling.temperature;
  sampling.top_p = row.sampling.top_p;
  sampling.repetition_penalty = row.sampling.repetition_penalty;
  sampling.samples = row.samples;
  sampling.seed = row.sampling.seed;
  sampling.sample_index = row.sample_index;
  return sampling;
}

// Of a trial's token i: below every size that DecodeModel::Supports lets pass.
int32_t TrialIndex(int i) { return i % kMinIndices; }

void CopyBlocks(const std::vector<int32_t>& blocks, int64_t max_blocks, int32_t* table) {
  GLIMPSE_CHECK(static_cast<int64_t>(blocks.size()) <= max_blocks, "more blocks than a context");
  std::copy(blocks.begin(), blocks.end(), table);
}

// Of the picture that a negative id of the row stands for.
const kernels::bf16* PictureOf(const StepRow& row, const std::vector<at::Tensor>& pictures) {
  const at::Tensor& picture = pictures[row.slot];
  GLIMPSE_CHECK(picture.defined(), "image rows before their vision step");
  return static_cast<const kernels::bf16*>(picture.const_data_ptr());
}

// All arrays, of the last one, the block table, its first `entries`.
void UploadArrays(UploadArea& area, UploadArea::Array<int32_t> block_table, int64_t entries,
                  cudaStream_t stream) {
  area.Upload(stream, block_table.offset + entries * static_cast<int64_t>(sizeof(int32_t)));
}

}  // namespace

GpuDecodeInputs::GpuDecodeInputs(int max_blocks, at::Device device) : max_blocks_(max_blocks) {
  tokens_ = area_.Add<int32_t>(kMaxDecodeRows);
  positions_ = area_.Add<int32_t>(kMaxDecodeRows);
  cache_rows_ = area_.Add<int32_t>(kMaxDecodeRows);
  lengths_ = area_.Add<int32_t>(kMaxDecodeRows);
  sampling_ = area_.Add<kernels::SampleRow>(kMaxDecodeRows);
  block_table_ = area_.Add<int32_t>(kMaxDecodeRows * max_blocks_);  // last: UploadArrays
  area_.Allocate(device);
  device_ = {area_.device(tokens_),
             area_.device(positions_),
             area_.device(cache_rows_),
             area_.device(lengths_),
             area_.device(block_table_),
             area_.device(sampling_),
             max_blocks};
}

void GpuDecodeInputs::Clear(int rows, const KvCache& cache) {
  area_.Turn();
  const int all = DecodeModel::KernelRows(rows);
  std::fill_n(area_.host(tokens_), all, 0);
  std::fill_n(area_.host(positions_), all, 0);
  std::fill_n(area_.host(cache_rows_), all, static_cast<int32_t>(cache.TrashRow()));
  std::fill_n(area_.host(lengths_), all, 0);
  std::fill_n(area_.host(sampling_), all, kernels::SampleRow());
}

void GpuDecodeInputs::Fill(const StepPlan& plan, const KvCache& cache, cudaStream_t stream) {
  const int rows = static_cast<int>(plan.rows.size());
  Clear(rows, cache);
  for (int i = 0; i < rows; ++i) {
    const StepRow& row = plan.rows[i];
    if (row.slot < 0) continue;
    GLIMPSE_CHECK(row.tokens.size() == 1 && row.positions.size() == 1, "a decode row is one token");
    area_.host(tokens_)[i] = row.tokens[0];
    area_.host(positions_)[i] = row.positions[0];
    area_.host(cache_rows_)[i] = static_cast<int32_t>(cache.RowOf(row.blocks, row.kv_length));
    area_.host(lengths_)[i] = row.kv_length + 1;
    area_.host(sampling_)[i] = SamplingOf(row);
    CopyBlocks(row.blocks, max_blocks_, area_.host(block_table_) + i * max_blocks_);
  }
  UploadArrays(area_, block_table_, rows * max_blocks_, stream);
}

void GpuDecodeInputs::FillTrial(int rows, const KvCache& cache, cudaStream_t stream) {
  Clear(rows, cache);
  for (int i = 0; i < rows; ++i) area_.host(tokens_)[i] = area_.host(positions_)[i] = TrialIndex(i);
  area_.host(block_table_)[0] = cache.TrialBlock();
  area_.host(lengths_)[0] = cache.block_size();
  area_.host(cache_rows_)[0] = (cache.TrialBlock() + 1) * cache.block_size() - 1;
  UploadArrays(area_, block_table_, rows * max_blocks_, stream);
}

GpuPrefillInputs::GpuPrefillInputs(int max_tokens, int max_blocks, at::Device device)
    : max_blocks_(max_blocks) {
  tokens_ = area_.Add<int32_t>(max_tokens);
  positions_ = area_.Add<int32_t>(max_tokens);
  cache_rows_ = area_.Add<int32_t>(max_tokens);
  pictures_ = area_.Add<const kernels::bf16*>(max_tokens);
  first_tokens_ = area_.Add<int32_t>(kMaxSpans + 1);
  kv_lengths_ = area_.Add<int32_t>(kMaxSpans);
  sample_rows_ = area_.Add<int32_t>(kMaxDecodeRows);
  sampling_ = area_.Add<kernels::SampleRow>(kMaxDecodeRows);
  block_table_ = area_.Add<int32_t>(kMaxSpans * max_blocks_);  // last: UploadArrays
  area_.Allocate(device);
  device_ = {area_.device(tokens_),
             area_.device(pictures_),
             area_.device(positions_),
             area_.device(cache_rows_),
             area_.device(block_table_),
             area_.device(first_tokens_),
             area_.device(kv_lengths_),
             kMaxSpans,
             max_blocks};
}

void GpuPrefillInputs::Clear(int num_tokens, const KvCache& cache) {
  area_.Turn();
  num_samples_ = 0;
  std::fill_n(area_.host(tokens_), num_tokens, 0);
  std::fill_n(area_.host(positions_), num_tokens, 0);
  std::fill_n(area_.host(cache_rows_), num_tokens, static_cast<int32_t>(cache.TrashRow()));
  std::fill_n(area_.host(kv_lengths_), kMaxSpans, 0);
  std::fill_n(area_.host(sample_rows_), kMaxDecodeRows, 0);
  std::fill_n(area_.host(sampling_), kMaxDecodeRows, kernels::SampleRow());
}

void GpuPrefillInputs::Fill(const StepPlan& plan, int num_tokens, const KvCache& cache,
                            const std::vector<at::Tensor>& pictures, cudaStream_t stream) {
  Clear(num_tokens, cache);
  int span = 0, end = 0;
  for (const StepRow& row : plan.rows) {
    if (row.slot < 0) continue;
    GLIMPSE_CHECK(span < kMaxSpans, "more sequences than a prefill step takes");
    area_.host(first_tokens_)[span] = end;
    AddRow(row, span, end, cache, pictures);
    end += static_cast<int>(row.tokens.size());
    ++span;
    if (!row.samples) continue;
    area_.host(sample_rows_)[num_samples_] = end - 1;
    area_.host(sampling_)[num_samples_] = SamplingOf(row);
    ++num_samples_;
  }
  GLIMPSE_CHECK(end <= num_tokens, "fewer tokens with padding than without");
  std::fill(area_.host(first_tokens_) + span, area_.host(first_tokens_) + kMaxSpans + 1, end);
  UploadArrays(area_, block_table_, span * max_blocks_, stream);
}

void GpuPrefillInputs::AddRow(const StepRow& row, int span, int first, const KvCache& cache,
                              const std::vector<at::Tensor>& pictures) {
  const int count = static_cast<int>(row.tokens.size());
  GLIMPSE_CHECK(row.positions.size() == row.tokens.size(), "a position for each token");
  for (int i = 0; i < count; ++i) {
    area_.host(tokens_)[first + i] = row.tokens[i];
    area_.host(positions_)[first + i] = row.positions[i];
    area_.host(cache_rows_)[first + i] =
        static_cast<int32_t>(cache.RowOf(row.blocks, row.kv_length + i));
    if (IsImageRow(row.tokens[i])) area_.host(pictures_)[first + i] = PictureOf(row, pictures);
  }
  area_.host(kv_lengths_)[span] = row.kv_length + count;
  CopyBlocks(row.blocks, max_blocks_, area_.host(block_table_) + span * max_blocks_);
}

void GpuPrefillInputs::FillTrial(int num_tokens, const KvCache& cache, cudaStream_t stream) {
  Clear(num_tokens, cache);
  const int count = std::min(num_tokens, cache.block_size());
  const int first_row = cache.TrialBlock() * cache.block_size();
  for (int i = 0; i < num_tokens; ++i) {
    area_.host(tokens_)[i] = area_.host(positions_)[i] = TrialIndex(i);
    if (i < count) area_.host(cache_rows_)[i] = first_row + i;
  }
  area_.host(block_table_)[0] = cache.TrialBlock();
  area_.host(kv_lengths_)[0] = count;
  area_.host(first_tokens_)[0] = 0;
  std::fill(area_.host(first_tokens_) + 1, area_.host(first_tokens_) + kMaxSpans + 1, count);
  UploadArrays(area_, block_table_, max_blocks_, stream);
}

}  // namespace glimpse

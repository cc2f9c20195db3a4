#include "engine/schedule/sequence.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "preprocess/ceil_div.h"
#include "preprocess/check.h"

namespace glimpse {
namespace {

constexpr int kImageIds = 3;  // <|begin_of_image|> <|endoftext|> <|end_of_image|>

bool HasImage(const Request& request) { return request.image_at >= 0; }

// The prompt with vision rows in place of the picture's ids.
std::vector<int32_t> ExpandedPrompt(const Request& request, const ModelLimits& limits) {
  if (!HasImage(request)) return request.prompt;
  std::vector<int32_t> rows;
  rows.reserve(KvRowsNeeded(request, limits));
  const auto picture = request.prompt.begin() + request.image_at;
  rows.assign(request.prompt.begin(), picture);
  for (int k = 0; k < limits.image_rows; ++k) rows.push_back(ImageRow(k));
  rows.insert(rows.end(), picture + kImageIds, request.prompt.end());
  return rows;
}

}  // namespace

int64_t PromptRows(const Request& request, const ModelLimits& limits) {
  const int64_t image = HasImage(request) ? limits.image_rows - kImageIds : 0;
  return static_cast<int64_t>(request.prompt.size()) + image;
}

int64_t KvRowsNeeded(const Request& request, const ModelLimits& limits) {
  return PromptRows(request, limits) + request.max_tokens;
}

int64_t BlocksFor(int64_t rows, const ModelLimits& limits) {
  return CeilDiv<int64_t>(rows, limits.block_size);
}

int64_t KvBlocksNeeded(const Request& request, const ModelLimits& limits) {
  return BlocksFor(KvRowsNeeded(request, limits), limits);
}

absl::Status CheckCanRun(const Request& request, const ModelLimits& limits) {
  const int64_t ids = static_cast<int64_t>(request.prompt.size());
  if (ids == 0 || request.max_tokens < 1) {
    return absl::InvalidArgumentError("a prompt and room for one token are needed");
  }
  if (HasImage(request)) {
    if (limits.image_rows < kImageIds) {
      return absl::InvalidArgumentError("the model takes no pictures");
    }
    if (request.image_at + kImageIds > ids || request.image.pixels.empty()) {
      return absl::InvalidArgumentError("the picture does not match the prompt");
    }
  }
  const int64_t needed = KvRowsNeeded(request, limits);
  const int64_t limit = std::min<int64_t>(
      limits.max_context, static_cast<int64_t>(limits.num_blocks) * limits.block_size);
  if (needed <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("prompt and answer may take ", needed, " tokens, the limit is ", limit));
}

Sequence::Sequence(int64_t number, int slot, std::vector<BlockHandle> blocks,
                   std::unique_ptr<Request> request, const ModelLimits* limits)
    : number_(number),
      slot_(slot),
      blocks_(std::move(blocks)),
      request_(std::move(request)),
      limits_(limits),
      times_(request_->times),
      rows_(ExpandedPrompt(*request_, *limits)),
      num_to_prefill_(static_cast<int>(rows_.size())),
      image_pending_(HasImage(*request_)) {}

Sequence::Phase Sequence::phase() const {
  if (image_pending_) return Phase::kVision;
  if (kv_length_ < num_to_prefill_) return Phase::kPrefill;
  // KvRowsNeeded fits into the context, so max_tokens are reached no later than its end.
  return num_planned_ < request_->max_tokens ? Phase::kDecode : Phase::kPlanned;
}

int Sequence::NumRows() const {
  return static_cast<int>(rows_.size()) + num_planned_ - num_sampled_;
}

int Sequence::BlocksMissing(int tokens) const {
  const int64_t rows = std::min<int64_t>(NumRows() + tokens, KvRowsNeeded(*request_, *limits_));
  const int blocks = static_cast<int>(BlocksFor(rows, *limits_));
  return std::max(0, blocks - static_cast<int>(blocks_.size()));
}

void Sequence::AddBlocks(std::vector<BlockHandle> blocks) {
  std::move(blocks.begin(), blocks.end(), std::back_inserter(blocks_));
}

int Sequence::Position(int kv_row) const {
  if (!HasImage(*request_) || kv_row <= request_->image_at) return kv_row;
  const int behind_image = kv_row - (limits_->image_rows - kImageIds);
  return std::max(behind_image, request_->image_at + 1);
}

StepRow Sequence::EmptyRow() const {
  StepRow row;
  row.sequence = number_;
  row.slot = slot_;
  row.starts = !started_;
  if (row.starts) row.prompt = seen_.empty() ? &request_->prompt : &seen_;
  row.kv_length = kv_length_;
  row.sampling = request_->sampling;
  row.sample_index = num_planned_;
  return row;
}

StepRow Sequence::VisionRow() const {
  StepRow row = EmptyRow();
  row.image = &request_->image;
  return row;
}

StepRow Sequence::NextRow(int max_tokens) const {
  GLIMPSE_CHECK(phase() == Phase::kPrefill || phase() == Phase::kDecode, "no row to be fed");
  const int known = static_cast<int>(rows_.size());
  const int end = std::min(NumRows(), kv_length_ + max_tokens);
  StepRow row = EmptyRow();
  row.samples = end == NumRows();
  row.tokens.reserve(end - kv_length_);
  row.positions.reserve(end - kv_length_);
  for (int i = kv_length_; i < end; ++i) {
    row.tokens.push_back(i < known ? rows_[i] : kLastToken);
    row.positions.push_back(Position(i));
  }
  const int blocks = static_cast<int>(BlocksFor(end, *limits_));
  row.blocks.reserve(blocks);
  for (int i = 0; i < blocks; ++i) row.blocks.push_back(blocks_[i].id());
  return row;
}

void Sequence::Begin() {
  started_ = true;
  fresh_ = false;
}

void Sequence::Advance(const StepRow& row) {
  Begin();
  if (row.image != nullptr) image_pending_ = false;
  kv_length_ += static_cast<int>(row.tokens.size());
  GLIMPSE_CHECK(kv_length_ <= NumRows(), "more rows planned than there are");
  if (row.samples) ++num_planned_;
}

void Sequence::ImageEncoded(absl::Time now) {
  if (times_.encoded == absl::InfinitePast()) times_.encoded = now;
}

std::optional<FinishReason> Sequence::Accept(const SampledToken& token, absl::Time now) {
  GLIMPSE_CHECK(num_sampled_ < num_planned_, "a token that no step was to sample");
  rows_.push_back(token.id);
  if (++num_sampled_ == 1) times_.first_token = now;
  const std::vector<int32_t>& stop_ids = limits_->stop_ids;
  const bool stops = std::find(stop_ids.begin(), stop_ids.end(), token.id) != stop_ids.end();
  if (stops && !request_->ignore_stop_ids) return FinishReason::kStop;
  if (!request_->sink->Push(token)) return FinishReason::kStopString;
  if (num_sampled_ == request_->max_tokens) return FinishReason::kLength;
  return std::nullopt;
}

void Sequence::Preempt() {
  blocks_.clear();
  slot_ = -1;
}

void Sequence::Restart(int64_t number, int slot, std::vector<BlockHandle> blocks) {
  GLIMPSE_CHECK(all_known(), "a sequence restarts before its tokens are known");
  number_ = number;
  slot_ = slot;
  blocks_ = std::move(blocks);
  kv_length_ = 0;
  started_ = false;
  image_pending_ = HasImage(*request_);
  num_to_prefill_ = static_cast<int>(rows_.size());
  if (num_sampled_ == 0) return;
  seen_ = request_->prompt;
  seen_.insert(seen_.end(), rows_.end() - num_sampled_, rows_.end());
}

void Sequence::Finish(const absl::Status& status, FinishReason reason, absl::Time now) {
  blocks_.clear();
  times_.finished = now;
  request_->sink->Finish(status, Completion{reason, num_sampled_, times_});
}

}  // namespace glimpse

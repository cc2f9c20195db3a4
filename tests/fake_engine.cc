#include "tests/fake_engine.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "preprocess/ceil_div.h"
#include "preprocess/status_macros.h"

namespace glimpse {
namespace {

absl::Status Broken(const StepRow& row, const char* what) {
  return absl::InternalError(absl::StrCat("sequence ", row.sequence, ": ", what));
}

// splitmix64's last step: every bit of `value` reaches every bit of the result.
uint64_t Mix(uint64_t state, uint64_t value) {
  uint64_t z = state * 0x9E3779B97F4A7C15u + value + 1;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

uint64_t HashIds(const std::vector<int32_t>& ids) {
  uint64_t hash = 0;
  for (int32_t id : ids) hash = Mix(hash, static_cast<uint64_t>(id));
  return hash;
}

std::vector<uint64_t> ImageRows(const RgbImage& image, int count) {
  uint64_t hash = Mix(static_cast<uint64_t>(image.width), static_cast<uint64_t>(image.height));
  for (uint8_t value : image.pixels) hash = Mix(hash, value);
  std::vector<uint64_t> rows;
  for (int k = 0; k < count; ++k) rows.push_back(Mix(hash, static_cast<uint64_t>(k)));
  return rows;
}

// `context` is the hash of all KV rows; `seen` that of the ids that the repetition penalty counts.
int32_t Sample(uint64_t context, uint64_t seen, const SamplingParams& sampling,
               uint64_t sample_index, int vocabulary_size) {
  uint64_t hash = context;
  if (sampling.temperature > 0) hash = Mix(Mix(hash, sampling.seed), sample_index);
  if (sampling.repetition_penalty != 1.0f) hash = Mix(hash, seen);
  return static_cast<int32_t>(hash % static_cast<uint64_t>(vocabulary_size));
}

SampledToken WithLogprobs(int32_t id, const StepRow& row, int vocabulary_size) {
  SampledToken token{id, -0.5f, {}};
  for (int i = 0; i < std::min(row.sampling.top_logprobs, vocabulary_size); ++i) {
    token.top.push_back({(id + i) % vocabulary_size, -0.5f - static_cast<float>(i)});
  }
  return token;
}

absl::Status CheckTokens(const StepRow& row, const ModelLimits& limits) {
  if (row.tokens.empty()) return Broken(row, "no tokens");
  if (row.tokens.size() != row.positions.size()) return Broken(row, "not a position each token");
  for (int32_t token : row.tokens) {
    if (token == kLastToken) continue;
    if (token >= limits.vocabulary_size) return Broken(row, "id beyond the vocabulary");
    if (ImageRowIndex(token) >= limits.image_rows) return Broken(row, "row beyond the picture");
  }
  const size_t kv_rows = row.kv_length + row.tokens.size();
  if (kv_rows > static_cast<size_t>(limits.max_context)) return Broken(row, "context exceeded");
  if (row.blocks.size() * limits.block_size < kv_rows) return Broken(row, "too few blocks");
  return absl::OkStatus();
}

absl::Status CheckRow(StepKind kind, const StepRow& row, const ModelLimits& limits) {
  if (row.slot < 0 || row.slot >= limits.max_batch_size) return Broken(row, "slot out of range");
  if (row.starts != (row.prompt != nullptr)) return Broken(row, "`prompt` goes with `starts`");
  if (kind == StepKind::kVision) {
    if (row.image == nullptr || !row.tokens.empty()) return Broken(row, "not a vision row");
    return absl::OkStatus();
  }
  if (row.image != nullptr) return Broken(row, "a picture outside a vision step");
  if (kind == StepKind::kDecode && (row.tokens.size() != 1 || !row.samples)) {
    return Broken(row, "a decode row feeds and samples one token");
  }
  const std::vector<int32_t>& tokens = row.tokens;
  if (kind == StepKind::kPrefill && std::count(tokens.begin(), tokens.end(), kLastToken) > 0) {
    return Broken(row, "kLastToken in a prompt");
  }
  return CheckTokens(row, limits);
}

bool IsPadding(const StepRow& row) {
  return row.slot == -1 && row.kv_length == 0 && row.blocks.empty() && !row.samples &&
         !row.starts && row.tokens == std::vector<int32_t>{0} &&
         row.positions == std::vector<int32_t>{0};
}

absl::Status CheckShape(const StepPlan& plan, const ModelLimits& limits) {
  const int rows = static_cast<int>(plan.rows.size());
  if (plan.num_real_rows < 1 || plan.num_real_rows > rows) {
    return absl::InternalError("a step without real rows, or with more than it has");
  }
  const bool decode = plan.kind == StepKind::kDecode;
  if (rows != (decode ? plan.bucket : plan.num_real_rows)) {
    return absl::InternalError("wrong number of rows");
  }
  if (plan.kind == StepKind::kPrefill && plan.bucket < plan.NumTokens()) {
    return absl::InternalError("more tokens than the bucket holds");
  }
  if (plan.kind == StepKind::kVision && rows > plan.bucket) {
    return absl::InternalError("more pictures than their group has");
  }
  if (plan.kind == StepKind::kVision &&
      (plan.first_layer < 0 || plan.first_layer >= plan.end_layer ||
       plan.end_layer > limits.vision_layers)) {
    return absl::InternalError("a slice of layers that the tower does not have");
  }
  if (!std::all_of(plan.rows.begin() + plan.num_real_rows, plan.rows.end(), IsPadding)) {
    return absl::InternalError("padding rows are not empty");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckPlan(const StepPlan& plan, const ModelLimits& limits) {
  if (plan.kind == StepKind::kIdle) return absl::InternalError("an idle plan is not run");
  if (absl::Status shape = CheckShape(plan, limits); !shape.ok()) return shape;
  std::set<int> slots;
  std::set<int32_t> blocks;
  for (int i = 0; i < plan.num_real_rows; ++i) {
    const StepRow& row = plan.rows[i];
    if (absl::Status valid = CheckRow(plan.kind, row, limits); !valid.ok()) return valid;
    if (!slots.insert(row.slot).second) return Broken(row, "slot taken twice");
    for (int32_t block : row.blocks) {
      if (block < 0 || block >= limits.num_blocks) return Broken(row, "block out of range");
      if (!blocks.insert(block).second) return Broken(row, "block taken twice");
    }
  }
  return absl::OkStatus();
}

FakeEngine::FakeEngine(FakeEngineOptions options)
    : options_(std::move(options)),
      cache_(static_cast<size_t>(options_.limits.num_blocks) * options_.limits.block_size),
      block_of_(options_.limits.num_blocks, -1),
      slots_(options_.limits.max_batch_size) {}

void FakeEngine::FailLaunch(int64_t step, absl::Status status) {
  MutexLock lock(&mutex_);
  faults_[step].launch = std::move(status);
}

void FakeEngine::FailFinish(int64_t step, absl::Status status) {
  MutexLock lock(&mutex_);
  faults_[step].finish = std::move(status);
}

int64_t FakeEngine::num_steps() const {
  MutexLock lock(&mutex_);
  return num_steps_;
}

FakeEngine::Faults FakeEngine::BeginStep(int64_t* step) {
  MutexLock lock(&mutex_);
  *step = num_steps_++;
  const auto faults = faults_.find(*step);
  return faults == faults_.end() ? Faults() : faults->second;
}

bool FakeEngine::Upkeep() { return num_upkeeps_++ < options_.upkeep; }

// The slice begins where the last one of its group ended, with none but its pictures, and is as
// large as the group was at first, whoever has left.
absl::Status FakeEngine::CheckSlice(const StepPlan& plan) {
  std::set<int64_t> pictures;
  for (int i = 0; i < plan.num_real_rows; ++i) pictures.insert(plan.rows[i].sequence);
  if (plan.first_layer == 0) {
    pictures_ = pictures;
    group_size_ = static_cast<int>(pictures.size());
  } else if (plan.first_layer != next_layer_) {
    return absl::InternalError("the layers of the pictures do not go on");
  }
  if (!std::includes(pictures_.begin(), pictures_.end(), pictures.begin(), pictures.end())) {
    return absl::InternalError("a picture joins behind its group's first slice");
  }
  if (plan.bucket != group_size_) {
    return absl::InternalError("not the size of the group's first slice");
  }
  pictures_ = std::move(pictures);
  next_layer_ = plan.end_layer;
  return absl::OkStatus();
}

absl::Status FakeEngine::Launch(const StepPlan& plan) {
  if (options_.on_launch) options_.on_launch(plan);
  int64_t step = 0;
  const Faults faults = BeginStep(&step);
  if (static_cast<int>(in_flight_.size()) == options_.depth) {
    return absl::InternalError("more steps in flight than the depth allows");
  }
  if (broken_) return absl::InternalError("the device is broken");
  GLIMPSE_RETURN_IF_ERROR(CheckPlan(plan, options_.limits));
  if (plan.kind == StepKind::kVision) GLIMPSE_RETURN_IF_ERROR(CheckSlice(plan));
  if (!faults.launch.ok()) {
    for (int i = 0; i < plan.num_real_rows; ++i) slots_[plan.rows[i].slot] = Slot();
    return faults.launch;
  }
  StepOutput output;
  for (int i = 0; i < plan.num_real_rows; ++i) {
    const StepRow& row = plan.rows[i];
    GLIMPSE_RETURN_IF_ERROR(EnterRow(row));
    Slot& slot = slots_[row.slot];
    slot.failed = slot.failed || !faults.finish.ok();
    output.tokens.push_back({kGhostToken, 0, {}});
    if (slot.failed) continue;
    GLIMPSE_ASSIGN_OR_RETURN(output.tokens.back(), RunRow(plan, row, step));
  }
  in_flight_.push_back({step, faults.finish, std::move(output)});
  return absl::OkStatus();
}

absl::StatusOr<StepOutput> FakeEngine::Finish() {
  if (in_flight_.empty()) return absl::InternalError("no step is in flight");
  Step step = std::move(in_flight_.front());
  in_flight_.pop_front();
  num_finished_ = step.number + 1;
  if (!step.status.ok()) return step.status;
  return std::move(step.output);
}

// Slot and blocks are the row's.
absl::Status FakeEngine::EnterRow(const StepRow& row) {
  Slot& slot = slots_[row.slot];
  if (row.starts) {
    if (row.sequence <= slot.sequence) return Broken(row, "the slot has had a later sequence");
    slot = Slot();
    slot.sequence = row.sequence;
    slot.seen = HashIds(*row.prompt);
    slot.num_sampled = row.sample_index;
  }
  if (slot.sequence != row.sequence) return Broken(row, "the slot is another's");
  const int block_size = options_.limits.block_size;
  const int written = CeilDiv(slot.kv_length, block_size);
  for (int i = 0; i < static_cast<int>(row.blocks.size()); ++i) {
    int64_t& owner = block_of_[row.blocks[i]];
    if (i < written && owner != row.sequence) return Broken(row, "the block is another's");
    owner = row.sequence;
  }
  return absl::OkStatus();
}

absl::Status FakeEngine::CheckGoesOn(StepKind kind, const StepRow& row) const {
  const Slot& slot = slots_[row.slot];
  if (row.kv_length != slot.kv_length) return Broken(row, "the KV rows do not go on");
  if (row.sample_index != slot.num_sampled) return Broken(row, "the draws do not go on");
  if (kind != StepKind::kDecode) return absl::OkStatus();
  if (slot.last_step < 0) return Broken(row, "no token was sampled yet");
  if ((row.tokens[0] == kLastToken) == LastTokenIsKnown(slot)) {
    return Broken(row, "kLastToken stands for tokens in flight");
  }
  if (row.tokens[0] == kLastToken || row.tokens[0] == slot.last_token) return absl::OkStatus();
  return Broken(row, "not the token that was sampled last");
}

absl::StatusOr<SampledToken> FakeEngine::RunRow(const StepPlan& plan, const StepRow& row,
                                                int64_t step) {
  GLIMPSE_RETURN_IF_ERROR(CheckGoesOn(plan.kind, row));
  Slot& slot = slots_[row.slot];
  if (plan.kind == StepKind::kVision) {
    if (plan.end_layer == options_.limits.vision_layers) {
      slot.image_rows = ImageRows(*row.image, options_.limits.image_rows);
    }
    return SampledToken();
  }
  GLIMPSE_RETURN_IF_ERROR(WriteRows(row));
  slot.kv_length += static_cast<int>(row.tokens.size());
  if (!row.samples) return SampledToken();
  GLIMPSE_ASSIGN_OR_RETURN(slot.last_token, NextToken(row));
  slot.last_step = step;
  slot.seen = Mix(slot.seen, static_cast<uint64_t>(slot.last_token));
  ++slot.num_sampled;
  return WithLogprobs(slot.last_token, row, options_.limits.vocabulary_size);
}

absl::Status FakeEngine::WriteRows(const StepRow& row) {
  const Slot& slot = slots_[row.slot];
  for (size_t i = 0; i < row.tokens.size(); ++i) {
    const int32_t token = row.tokens[i] == kLastToken ? slot.last_token : row.tokens[i];
    KvRow& cell = At(row, row.kv_length + static_cast<int>(i));
    cell = {true, static_cast<uint64_t>(token), row.positions[i]};
    if (!IsImageRow(token)) continue;
    if (slot.image_rows.empty()) return Broken(row, "image rows before the vision step");
    cell.content = slot.image_rows[ImageRowIndex(token)];
  }
  return absl::OkStatus();
}

absl::StatusOr<int32_t> FakeEngine::NextToken(const StepRow& row) const {
  const std::vector<int32_t>& script = options_.script;
  if (row.sample_index < script.size()) return script[row.sample_index];
  if (!script.empty() && !options_.limits.stop_ids.empty()) return options_.limits.stop_ids[0];
  uint64_t context = 0;
  for (int i = 0; i < row.kv_length + static_cast<int>(row.tokens.size()); ++i) {
    const KvRow& cell = At(row, i);
    if (!cell.written) return Broken(row, "a KV row is read before it was written");
    context = Mix(Mix(context, cell.content), static_cast<uint64_t>(cell.position));
  }
  return Sample(context, slots_[row.slot].seen, row.sampling, row.sample_index,
                options_.limits.vocabulary_size);
}

const FakeEngine::KvRow& FakeEngine::At(const StepRow& row, int kv_row) const {
  const int block_size = options_.limits.block_size;
  return cache_[static_cast<size_t>(row.blocks[kv_row / block_size]) * block_size +
                kv_row % block_size];
}

FakeEngine::KvRow& FakeEngine::At(const StepRow& row, int kv_row) {
  return const_cast<KvRow&>(std::as_const(*this).At(row, kv_row));
}

std::vector<int32_t> AnswerAlone(const Request& request, const ModelLimits& limits) {
  uint64_t context = 0;
  const auto feed = [&context](uint64_t content, int position) {
    context = Mix(Mix(context, content), static_cast<uint64_t>(position));
  };
  std::vector<uint64_t> image;
  if (request.image_at >= 0) image = ImageRows(request.image, limits.image_rows);
  const int ids = static_cast<int>(request.prompt.size());
  for (int i = 0; i < ids; ++i) {
    const int part = request.image_at < 0 ? -1 : i - request.image_at;
    if (part < 0 || part > 2) feed(static_cast<uint64_t>(request.prompt[i]), i);
    if (part == 0) feed(image.front(), i);
    for (size_t k = 1; part == 1 && k + 1 < image.size(); ++k) feed(image[k], i);
    if (part == 2) feed(image.back(), i);
  }
  uint64_t seen = HashIds(request.prompt);
  std::vector<int32_t> answer;
  while (static_cast<int>(answer.size()) < request.max_tokens) {
    const int32_t id =
        Sample(context, seen, request.sampling, answer.size(), limits.vocabulary_size);
    const bool stops = std::count(limits.stop_ids.begin(), limits.stop_ids.end(), id) > 0;
    if (stops && !request.ignore_stop_ids) break;
    answer.push_back(id);
    seen = Mix(seen, static_cast<uint64_t>(id));
    feed(static_cast<uint64_t>(id), ids + static_cast<int>(answer.size()) - 1);
  }
  return answer;
}

}  // namespace glimpse

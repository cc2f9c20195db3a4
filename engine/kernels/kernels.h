// Every kernel's launcher but the decode products' (decode_linear.h). A launcher takes device
// pointers, sizes and a stream, allocates nothing, waits for nothing and may be called while a
// graph is captured; by any thread, on the one device that the process works on. It throws
// CudaError if the launch is refused; sizes that its kernel can't take are a CHECK. No work (no
// rows, tokens or pictures) is no launch, but for DecodeAttention and StartRows, which want a row
// at least.
//
// For Hopper (sm_90a) and bfloat16. Pointers are 16-byte aligned, matrices row-major. The
// arrays belong to the caller and stay until the kernel has run, or for as long as a graph holds
// it. Outputs overlap nothing else; what a kernel changes in place is said there. Launches on
// several streams may run side by side if they share no array that one of them writes, workspaces
// included, and if at most one of them is a DecodeAttention.
//
// Most kernels are joined to a chain by programmatic dependent launch: each may start while those
// before it in the stream still run, and waits for their results itself. Only what is called
// "read ahead" is read before that wait: it must be complete when the chain's first kernel starts,
// because a copy or an earlier graph wrote it, and no kernel of the chain may write it.
#ifndef GLIMPSE_ENGINE_KERNELS_KERNELS_H_
#define GLIMPSE_ENGINE_KERNELS_KERNELS_H_

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace glimpse::kernels {

using bf16 = __nv_bfloat16;

constexpr int kHeadSize = 128;          // channels of a head of the language model
constexpr int kRotaryPairs = 32;        // of its channels that rope turns: (0, 1) to (62, 63)
constexpr int kVisionHeadSize = 112;    // channels of a head that VisionAttention takes
constexpr int kMaxNormWidth = 8192;     // channels of a row that the norms take
constexpr int kKvBlockRows = 16;        // cache rows of a KV block
constexpr int kMaxVocabulary = 360448;  // of Sample
constexpr int kMaxGroup = 16;           // query heads that share a KV head, at most

// ---- Decode -------------------------------------------------------------------------------

// Attention of one new token a row over its sequence's cached keys and values, the newest included,
// which the kernel before this one may have written. block_table, lengths and all older keys and
// values are read ahead. A row's bits depend on that row, and on `rows` through the split, alone.
//
// Split rule: each (row, KV head) is split over 16, 8, 4, 2 or 1 blocks, the most that leave a
// multiprocessor to each block. The blocks of a split row wait for one another through the
// workspace, which works as they never outnumber the multiprocessors, so that all find room: hence
// one launch at a time, whatever the stream. The workspace is zero before and after each launch.
struct DecodeAttention {
  const bf16* q = nullptr;               // [rows, kv_heads * group, 128], rope applied
  const bf16* keys = nullptr;            // [cache rows, kv_heads, 128]; fewer than 2^31 rows
  const bf16* values = nullptr;          // the same
  const int32_t* block_table = nullptr;  // [rows, max_blocks] KV blocks in order
  const int32_t* lengths = nullptr;      // [rows] cached tokens with the newest, at most
                                         // max_blocks * 16; 0: padding row, whose output is zero
  bf16* out = nullptr;                   // [rows, kv_heads * group, 128]
  void* workspace = nullptr;             // [DecodeAttentionWorkspaceBytes()]; zeroed once
  int rows = 0;
  int kv_heads = 0;
  int group = 0;  // 1..16
  int max_blocks = 0;
};
int64_t DecodeAttentionWorkspaceBytes();  // on the current device, for any sizes
void Launch(const DecodeAttention& args, cudaStream_t stream);

// How a row samples; padding rows have slot -1 and are left out. The slots of a launch's other rows
// differ.
struct SampleRow {
  int32_t slot = -1;
  int32_t top_k = 0;      // 0: off
  float temperature = 0;  // 0: greedy
  float top_p = 1;
  float repetition_penalty = 1;
  int32_t samples = 0;  // 0: the row yields nothing and leaves its slot as it is
  uint64_t seed = 0;
  uint64_t sample_index = 0;
};
struct SampleResult {
  int32_t id = 0;
  float logprob = 0;      // of the id, before penalty and temperature
  int32_t is_finite = 0;  // 0: the logits hold a NaN or an infinity; id is 0 then
};
// Chooses a token a row: repetition penalty, temperature, top_k, top_p, one draw, as
// engine/sampler.h says. The slot then has seen it. A row's answer depends on nothing but that row.
struct Sample {
  const float* logits = nullptr;      // [rows, vocabulary]
  const SampleRow* params = nullptr;  // [rows]
  uint32_t* seen = nullptr;  // [slots, SeenWords(vocabulary)] bit per id: in prompt or answer;
                             // takes the chosen id
  int32_t* last_tokens = nullptr;   // [slots] takes the chosen id
  SampleResult* results = nullptr;  // [rows]; those left out or without samples are not written
  int rows = 0;
  int vocabulary = 0;  // 1..kMaxVocabulary
};
constexpr int SeenWords(int vocabulary) { return (vocabulary + 31) / 32; }
void Launch(const Sample& args, cudaStream_t stream);

// A new sequence takes a slot: forgets what the last one saw and notes the ids of its prompt.
struct StartSlot {
  const int32_t* prompt = nullptr;  // [count]; ids outside the vocabulary are left out
  int count = 0;
  uint32_t* seen = nullptr;  // of the slot: [SeenWords(vocabulary)]
  int vocabulary = 0;
};
void Launch(const StartSlot& args, cudaStream_t stream);

// The `count` likeliest ids of each row, likeliest first, the lowest id first among equals.
struct TopLogprobs {
  const float* logits = nullptr;  // [rows, vocabulary]
  int32_t* ids = nullptr;         // [rows, count]
  float* logprobs = nullptr;      // [rows, count]
  int rows = 0;
  int vocabulary = 0;
  int count = 0;  // 1..20, at most the vocabulary
};
void Launch(const TopLogprobs& args, cudaStream_t stream);

// A decode step's beginning, and that of a prefill step's last part: rows of a table as what the
// decode products read (decode_linear.h), residual = table[index] and x = residual * weight with
// its statistics.
struct StartRows {
  const bf16* table = nullptr;           // [.., hidden]: embeddings, or the last layer's input
  const int32_t* indices = nullptr;      // [rows] of the table; kFromSlot: last_tokens[slot]
  const SampleRow* params = nullptr;     // [rows], for the slots; null: no index is kFromSlot
  const int32_t* last_tokens = nullptr;  // [slots]
  const bf16* weight = nullptr;          // [hidden] of the norm that comes next
  float* residual = nullptr;             // [rows, hidden]
  bf16* x = nullptr;                     // [rows, hidden]
  float* sum_squares = nullptr;          // [hidden / 32, rows]
  int rows = 0;
  int hidden = 0;  // a multiple of 64
};
constexpr int32_t kFromSlot = INT32_MIN;
void Launch(const StartRows& args, cudaStream_t stream);

// ---- Prefill ------------------------------------------------------------------------------

// One picture row or embedded id a token; also takes any rows of a matrix.
struct Embed {
  const int32_t* tokens = nullptr;  // [tokens] id, or -1 - k for row k of the token's picture
  const bf16* const* pictures =
      nullptr;  // [tokens] the picture [rows, hidden]; read where the id is negative
  const bf16* embeddings = nullptr;  // [vocabulary, hidden]
  bf16* out = nullptr;               // [tokens, hidden]
  int num_tokens = 0;
  int hidden = 0;  // a multiple of 8
};
void Launch(const Embed& args, cudaStream_t stream);

// out = x / sqrt(mean(x^2) + eps) * weight, a row at a time.
struct RmsNorm {
  const bf16* x = nullptr;       // [rows, hidden]
  const bf16* weight = nullptr;  // [hidden]
  bf16* out = nullptr;           // [rows, hidden]
  int rows = 0;
  int hidden = 0;  // a multiple of 8, up to kMaxNormWidth
  float eps = 0;
};
void Launch(const RmsNorm& args, cudaStream_t stream);

// In place: adds the bias to q, k and v; turns the pairs (2i, 2i + 1) of the first 64 channels of
// each q and k head by positions[token]; leaves q where it is and writes k and v to the cache.
struct RopeAndCache {
  bf16* qkv = nullptr;                  // [tokens, (heads + 2 kv_heads) * 128]
  const bf16* bias = nullptr;           // [(heads + 2 kv_heads) * 128]; null: none
  const float* cos = nullptr;           // [positions, 32]
  const float* sin = nullptr;           // [positions, 32]
  const int32_t* positions = nullptr;   // [tokens]
  const int32_t* cache_rows = nullptr;  // [tokens] row of the cache that takes the token's k and v
  bf16* keys = nullptr;                 // [cache rows, kv_heads, 128]
  bf16* values = nullptr;               // the same
  int num_tokens = 0;
  int heads = 0;
  int kv_heads = 0;
};
void Launch(const RopeAndCache& args, cudaStream_t stream);

// out = silu(x g^T) * (x u^T), [g, u] = w. A token's bits depend on that token alone, not even on
// how many there are.
struct PrefillGated {
  const bf16* x = nullptr;  // [tokens, hidden]
  const bf16* w = nullptr;  // [2, ffn, hidden]
  bf16* out = nullptr;      // [tokens, ffn]
  int tokens = 0;
  int hidden = 0;  // a multiple of 8
  int ffn = 0;     // a multiple of 8
};
void Launch(const PrefillGated& args, cudaStream_t stream);

// Causal attention of packed spans of tokens over the cache, which holds their own keys and values
// already. A span's token i looks at the cache's tokens 0 .. kv_length - span's tokens + i. All
// lengths are read on the device: a captured launch serves every batch that has room in it. Blocks
// wait for others, but only for some that started before them, so it needs no room on the card to
// itself. The workspace is for one launch at a time; its flags are zero before and after each.
struct PrefillAttention {
  const bf16* q = nullptr;       // [tokens, q_stride]; heads * 128 of a row are read
  int64_t q_stride = 0;          // elements from token to token; a multiple of 8
  const bf16* keys = nullptr;    // [cache rows, kv_heads, 128]
  const bf16* values = nullptr;  // the same
  int64_t cache_rows = 0;
  const int32_t* block_table = nullptr;  // [spans, max_blocks]
  const int32_t* first_tokens =
      nullptr;  // [spans + 1] a span's first token; the last entry is the end of all
  const int32_t* kv_lengths =
      nullptr;          // [spans] cached tokens with the span's own; spans of no token are allowed
  bf16* out = nullptr;  // [tokens, heads * 128]; rows behind the last span are not written
  int num_tokens = 0;   // room of q and out; the spans may end before it
  int num_spans = 0;    // at most 256
  int heads = 0;        // kv_heads times 1, 2, 4, 8 or 16
  int kv_heads = 0;
  int max_blocks = 0;
  void* workspace = nullptr;  // [PrefillAttentionWorkspaceBytes()]; zeroed once
};
int64_t PrefillAttentionWorkspaceBytes();
void Launch(const PrefillAttention& args, cudaStream_t stream);

// ---- Vision -------------------------------------------------------------------------------

// Full attention within each picture, scale 1 / sqrt(head_size). Blocks and workspace as
// PrefillAttention's.
struct VisionAttention {
  const bf16* qkv = nullptr;  // [pictures * rows, 3, heads, head_size]
  bf16* out = nullptr;        // [pictures * rows, heads, head_size]
  int pictures = 0;
  int rows = 0;  // of one picture
  int heads = 0;
  int head_size = 0;          // kVisionHeadSize
  void* workspace = nullptr;  // [VisionAttentionWorkspaceBytes()]; zeroed once
};
int64_t VisionAttentionWorkspaceBytes();
void Launch(const VisionAttention& args, cudaStream_t stream);

// x += layer_norm(y), in place: the vision layers' norms stand behind what they belong to.
struct AddLayerNorm {
  bf16* x = nullptr;             // [rows, width]
  const bf16* y = nullptr;       // [rows, width]
  const bf16* weight = nullptr;  // [width]
  const bf16* bias = nullptr;    // [width]
  int rows = 0;
  int width = 0;  // a multiple of 8, up to kMaxNormWidth
  float eps = 0;
};
void Launch(const AddLayerNorm& args, cudaStream_t stream);

// Pixels as rows of the patch convolution's input, normalised: out[picture, patch, channel, y, x].
struct Patches {
  const uint8_t* pixels = nullptr;  // [pictures, size, size, 3] RGB
  bf16* out = nullptr;              // [pictures * (size / patch)^2, 3 * patch * patch]
  int pictures = 0;
  int size = 0;   // pixels a side, of a picture
  int patch = 0;  // of a patch; even, and divides size
};
void Launch(const Patches& args, cudaStream_t stream);

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_KERNELS_H_

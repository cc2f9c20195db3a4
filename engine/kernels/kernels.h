// Every kernel's launcher. They take device pointers, sizes and a stream, allocate nothing, wait
// for nothing and throw CudaError if a launch is refused; sizes that a kernel can't take are a
// CHECK. For Hopper (sm_90a) and bfloat16. All pointers are 16-byte aligned and all matrices
// row-major.
//
// The kernels of a decode step are joined by programmatic dependent launch: each may start while
// the one before it in the stream still runs, and waits for that one's results itself.
#ifndef GLIMPSE_ENGINE_KERNELS_KERNELS_H_
#define GLIMPSE_ENGINE_KERNELS_KERNELS_H_

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace glimpse::kernels {

using bf16 = __nv_bfloat16;

constexpr int kHeadSize = 128;        // channels of a head of the language model
constexpr int kVisionHeadSize = 112;  // of the vision tower's attention kernel
constexpr int kMaxNormWidth = 8192;   // channels of a row that the norms take
constexpr int kKvBlockRows = 16;      // cache rows of a KV block
constexpr int kMaxGroup = 16;         // query heads that share a KV head, at most

// ---- Decode -------------------------------------------------------------------------------

// Attention of one new token a row over its sequence's cached keys and values, split over the
// sequence. The newest row of the cache was written by the kernel before this one.
struct DecodeAttention {
  const bf16* q = nullptr;               // [rows, kv_heads * group, 128], rope applied
  const bf16* keys = nullptr;            // [cache rows, kv_heads, 128]
  const bf16* values = nullptr;          // the same
  const int32_t* block_table = nullptr;  // [rows, max_blocks] KV blocks in order
  const int32_t* lengths = nullptr;      // [rows] cached tokens with the newest; 0: padding row,
                                         // whose output is zero
  bf16* out = nullptr;                   // [rows, kv_heads * group, 128]
  void* workspace = nullptr;             // DecodeAttentionWorkspaceBytes(); zeroed once
  int rows = 0;
  int kv_heads = 0;
  int group = 0;  // 1..16
  int max_blocks = 0;
};
int64_t DecodeAttentionWorkspaceBytes();  // on the current device, for any sizes
void Launch(const DecodeAttention& args, cudaStream_t stream);

// How a row samples; padding rows have slot -1 and are left out.
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
// engine/sampler.h says.
struct Sample {
  const float* logits = nullptr;      // [rows, vocabulary]
  const SampleRow* params = nullptr;  // [rows]
  uint32_t* seen = nullptr;        // [slots, SeenWords(vocabulary)] bit per id: in prompt or answer
  int32_t* last_tokens = nullptr;  // [slots] takes the chosen id
  SampleResult* results = nullptr;  // [rows]; those left out or without samples are not written
  int rows = 0;
  int vocabulary = 0;  // 1..360448
};
constexpr int SeenWords(int vocabulary) { return (vocabulary + 31) / 32; }
void Launch(const Sample& args, cudaStream_t stream);

// A new sequence takes `slot`: forgets what the last one saw and notes the ids of its prompt.
struct StartSlot {
  const int32_t* prompt = nullptr;  // [count]
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

// A decode step's beginning, and a prefill step's end: rows of a table as what the products read.
// Takes rows [0, rows) of `residual`, `x` and `sum_squares` (decode_linear.h).
struct StartRows {
  const bf16* table = nullptr;           // [.., hidden]: embeddings, or the last layer's output
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

// One picture row or embedded id a token.
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

// Adds the bias to q, k and v; turns the pairs (2i, 2i + 1) of the first 64 channels of each q and
// k head by positions[token]; leaves q where it is and writes k and v to the cache.
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

// out = silu(a) * b, [a, b] = x.
struct Swiglu {
  const bf16* x = nullptr;  // [rows, 2 ffn]
  bf16* out = nullptr;      // [rows, ffn]
  int rows = 0;
  int ffn = 0;  // a multiple of 8
};
void Launch(const Swiglu& args, cudaStream_t stream);

// Causal attention of packed spans of tokens over the cache, which holds their own keys and values
// already. A span's token i looks at the cache's tokens 0 .. kv_length - span's tokens + i.
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
  int num_spans = 0;
  int heads = 0;
  int kv_heads = 0;
  int max_blocks = 0;
  void* workspace = nullptr;  // PrefillAttentionWorkspaceBytes(); zeroed once; one launch at a time
};
int64_t PrefillAttentionWorkspaceBytes();
void Launch(const PrefillAttention& args, cudaStream_t stream);

// ---- Vision -------------------------------------------------------------------------------

// Full attention within each picture, scale 1 / sqrt(head_size).
struct VisionAttention {
  const bf16* qkv = nullptr;  // [pictures * rows, 3, heads, head_size]
  bf16* out = nullptr;        // [pictures * rows, heads, head_size]
  int pictures = 0;
  int rows = 0;  // of one picture
  int heads = 0;
  int head_size = 0;          // 112 (others go through the library)
  void* workspace = nullptr;  // VisionAttentionWorkspaceBytes(); zeroed once; one launch at a time
};
int64_t VisionAttentionWorkspaceBytes();
void Launch(const VisionAttention& args, cudaStream_t stream);

// x += layer_norm(y): the vision layers' norms stand behind what they belong to.
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
  int size = 0;
  int patch = 0;  // pixels a side; even
};
void Launch(const Patches& args, cudaStream_t stream);

}  // namespace glimpse::kernels

#endif  // GLIMPSE_ENGINE_KERNELS_KERNELS_H_

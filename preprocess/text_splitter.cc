#include "preprocess/text_splitter.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "preprocess/unicode_stand_ins.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace glimpse {
namespace {

constexpr char kPattern[] = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
                            R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct PcreDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

std::string PcreMessage(int code) {
  unsigned char text[128];
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct TextSplitter::Compiled {
  std::unique_ptr<pcre2_code, PcreDeleter> code;
  std::unique_ptr<pcre2_match_context, PcreDeleter> context;
  bool machine_code = false;
};

struct PieceReader::Match {
  std::unique_ptr<pcre2_match_data, PcreDeleter> data;
};

TextSplitter::TextSplitter(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
TextSplitter::TextSplitter(TextSplitter&&) noexcept = default;
TextSplitter& TextSplitter::operator=(TextSplitter&&) noexcept = default;
TextSplitter::~TextSplitter() = default;

absl::StatusOr<TextSplitter> TextSplitter::Create(Matcher matcher) {
  auto compiled = std::make_unique<Compiled>();
  int error = 0;
  PCRE2_SIZE error_at = 0;
  compiled->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(kPattern), sizeof(kPattern) - 1,
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &error_at,
                                     nullptr));
  compiled->context.reset(pcre2_match_context_create(nullptr));
  if (compiled->code == nullptr || compiled->context == nullptr) {
    return absl::InternalError(absl::StrCat("the tokenizer's expression: ", PcreMessage(error)));
  }
  // Limits against runaway expressions. This one steps back over white space only, once for each
  // character, so the time is linear in any case and a long text must not meet a limit.
  pcre2_set_match_limit(compiled->context.get(), UINT32_MAX);
  pcre2_set_depth_limit(compiled->context.get(), UINT32_MAX);
  compiled->machine_code = matcher == Matcher::kCompiled &&
                           pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE) == 0;
  return TextSplitter(std::move(compiled));
}

PieceReader::PieceReader(const TextSplitter& splitter, std::string_view text)
    : compiled_(*splitter.compiled_),
      text_(text),
      stand_in_(WithStandIns(text)),
      matched_(stand_in_.empty() ? text : stand_in_),
      match_(std::make_unique<Match>()) {
  match_->data.reset(pcre2_match_data_create_from_pattern(compiled_.code.get(), nullptr));
  if (match_->data == nullptr) status_ = absl::ResourceExhaustedError("no memory for a match");
}

PieceReader::~PieceReader() = default;

bool PieceReader::Next(std::string_view* piece) {
  if (at_ == text_.size() || !status_.ok()) return false;
  const auto match = compiled_.machine_code ? pcre2_jit_match : pcre2_match;
  const int groups =
      match(compiled_.code.get(), reinterpret_cast<PCRE2_SPTR>(matched_.data()), matched_.size(),
            at_, PCRE2_NO_UTF_CHECK, match_->data.get(), compiled_.context.get());
  if (groups < 1) {  // not for want of a match: every character begins one
    status_ = absl::InternalError(absl::StrCat("splitting text: ", PcreMessage(groups)));
    return false;
  }
  const size_t end = pcre2_get_ovector_pointer(match_->data.get())[1];
  *piece = text_.substr(at_, end - at_);
  at_ = end;
  return true;
}

}  // namespace glimpse

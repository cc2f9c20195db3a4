#include "tests/server/metrics_text.h"

#include <catch2/catch.hpp>
#include <limits>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace glimpse {
namespace {

// name="value",name="value": no test has a quote or a comma in a value.
std::map<std::string, std::string> ParseLabels(const std::string& text) {
  std::map<std::string, std::string> labels;
  for (absl::string_view label : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    const std::vector<std::string> parts = absl::StrSplit(label, absl::MaxSplits("=\"", 1));
    REQUIRE(parts.size() == 2);
    labels[parts[0]] = parts[1].substr(0, parts[1].size() - 1);
  }
  return labels;
}

}  // namespace

MetricsText::MetricsText(const std::string& text) {
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (!absl::StartsWith(line, "#")) {
      AddSample(std::string(line));
    } else if (absl::StartsWith(line, "# TYPE ")) {
      const std::vector<std::string> words = absl::StrSplit(line, ' ');
      types_[words.at(2)] = words.at(3);
    }
  }
}

void MetricsText::AddSample(const std::string& line) {
  INFO(line);
  const size_t space = line.rfind(' ');
  REQUIRE(space != std::string::npos);
  double value = 0;
  REQUIRE(absl::SimpleAtod(line.substr(space + 1), &value));
  std::string name = line.substr(0, space), labels;
  if (const size_t brace = name.find('{'); brace != std::string::npos) {
    labels = name.substr(brace + 1, name.size() - brace - 2);
    name.resize(brace);
  }
  CHECK(samples_.insert({{name, ParseLabels(labels)}, value}).second);
}

double MetricsText::Value(const std::string& name, const Labels& labels) const {
  const auto found = samples_.find({absl::StrCat("glimpse_", name), labels});
  return found == samples_.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

std::string MetricsText::Type(const std::string& name) const {
  const auto found = types_.find(absl::StrCat("glimpse_", name));
  return found == types_.end() ? "" : found->second;
}

}  // namespace glimpse

// What /metrics says, as tests read it.
#ifndef GLIMPSE_TESTS_SERVER_METRICS_TEXT_H_
#define GLIMPSE_TESTS_SERVER_METRICS_TEXT_H_

#include <initializer_list>
#include <map>
#include <string>
#include <utility>

namespace glimpse {

class MetricsText {
 public:
  // Fails the test where a line is neither a comment nor a sample, or a sample stands twice.
  explicit MetricsText(const std::string& text);

  // The sample of this name without the prefix, and these labels: `Value("kv_blocks", {{"state",
  // "free"}})`. NaN where there is none.
  double Value(const std::string& name,
               const std::map<std::string, std::string>& labels = {}) const;

  // "counter", "gauge", "histogram"; "" where there is no metric of this name without the prefix.
  std::string Type(const std::string& name) const;

  const std::map<std::string, std::string>& types() const { return types_; }  // with the prefix

 private:
  void AddSample(const std::string& line);

  using Labels = std::map<std::string, std::string>;
  std::map<std::pair<std::string, Labels>, double> samples_;
  std::map<std::string, std::string> types_;
};

}  // namespace glimpse

#endif  // GLIMPSE_TESTS_SERVER_METRICS_TEXT_H_

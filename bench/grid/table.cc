#include "bench/grid/table.h"

#include <iostream>

#include "absl/strings/str_format.h"
#include "bench/grid/wall.h"
#include "bench/statistics.h"

namespace glimpse::bench {
namespace {

constexpr double kMiB = 1 << 20;

}  // namespace

Table::Table(const ModelConfig& config, const Walls& walls, const std::string& head,
             std::ostream* csv)
    : config_(config), walls_(walls), csv_(csv) {
  std::cout << head
            << absl::StreamFormat("%-6s %5s %5s %7s %-12s %5s %9s %9s %9s %9s %9s %7s %9s %9s\n",
                                  "mode", "batch", "text", "picture", "stage", "runs", "mean ms",
                                  "deviation", "median", "p99", "wall", "of wall", "peak MiB",
                                  "used MiB");
  *csv << head
       << "mode,batch,text,picture,stage,runs,mean_ms,deviation_ms,median_ms,p99_ms,wall_ms,"
          "share_of_wall,peak_mib,device_mib\n";
}

void Table::Note(const std::string& text) {
  std::cout << "# " << text << "\n" << std::flush;
  *csv_ << "# " << text << "\n" << std::flush;
}

double Table::Wall(const Shape& shape, int context, const std::string& stage) const {
  const LanguageConfig& language = config_.language;
  if (stage == "decode") return DecodeWall(language, shape.batch, context + 1, walls_);
  double wall = 0;
  if (stage != "prefill") wall += VisionWall(config_, shape.batch, walls_);
  if (stage != "vision") wall += PrefillWall(language, shape.batch, context, walls_);
  return wall;
}

void Table::Add(const std::string& mode, const Shape& shape, int context, const Stage& stage,
                const CellMemory& memory) {
  const Summary time = Summarize(stage.milliseconds);
  const double wall = Wall(shape, context, stage.name);
  const double peak = static_cast<double>(memory.peak_bytes) / kMiB;
  const double device = static_cast<double>(memory.device_bytes) / kMiB;
  const size_t runs = stage.milliseconds.size();
  std::cout << absl::StreamFormat(
                   "%-6s %5d %5d %7d %-12s %5d %9.3f %9.3f %9.3f %9.3f %9.3f %6.1f%% %9.0f %9.0f\n",
                   mode, shape.batch, shape.text, shape.picture, stage.name, runs, time.mean,
                   time.deviation, time.median, time.p99, wall, 100 * wall / time.median, peak,
                   device)
            << std::flush;
  *csv_ << absl::StreamFormat("%s,%d,%d,%d,%s,%d,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.1f,%.1f\n", mode,
                              shape.batch, shape.text, shape.picture, stage.name, runs, time.mean,
                              time.deviation, time.median, time.p99, wall, wall / time.median, peak,
                              device)
        << std::flush;
}

}  // namespace glimpse::bench

// The grid's results: on the screen as they come, and in a file of comma-separated values.
#ifndef GLIMPSE_BENCH_GRID_TABLE_H_
#define GLIMPSE_BENCH_GRID_TABLE_H_

#include <cstdint>
#include <ostream>
#include <string>

#include "bench/grid/batch.h"
#include "bench/grid/measure.h"
#include "bench/kernels/harness.h"
#include "engine/config.h"

namespace glimpse::bench {

// Of one cell.
struct CellMemory {
  int64_t peak_bytes =
      0;  // that the engine's tensors took at the same time, weights and KV cache included
  int64_t device_bytes = 0;  // that are not free on the device afterwards, whoever took them
};

class Table {
 public:
  // Writes `head`, lines that begin with #, and the names of the columns. `csv` outlives this.
  Table(const ModelConfig& config, const Walls& walls, const std::string& head, std::ostream* csv);

  // A line that begins with #.
  void Note(const std::string& text);

  void Add(const std::string& mode, const Shape& shape, int context, const Stage& stage,
           const CellMemory& memory);

 private:
  double Wall(const Shape& shape, int context, const std::string& stage) const;

  const ModelConfig config_;
  const Walls walls_;
  std::ostream* const csv_;
};

}  // namespace glimpse::bench

#endif  // GLIMPSE_BENCH_GRID_TABLE_H_

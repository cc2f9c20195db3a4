#include "engine/schedule/load_meter.h"

#include <catch2/catch.hpp>

#include "tests/schedule/recording_sink.h"

namespace glimpse {
namespace {

TEST_CASE("A steady stream is measured as what it is, and forgotten when it ends") {
  LoadMeter meter;
  CHECK(meter.arrivals_per_second() == 0);
  int64_t total = 0;
  for (int64_t ms = 0; ms <= 60000; ms += 50) meter.Arrived(total++, AtMs(ms));  // 20 a second
  CHECK(meter.arrivals_per_second() == Approx(20).epsilon(0.02));
  meter.Arrived(total - 1, AtMs(61000));
  CHECK(meter.arrivals_per_second() > 17);  // a second of silence
  meter.Arrived(total - 1, AtMs(100000));
  CHECK(meter.arrivals_per_second() < 0.5);  // forty
}

TEST_CASE("It is no matter how often the meter is looked at") {
  LoadMeter often, seldom;
  for (int64_t ms = 0; ms <= 30000; ++ms) often.Arrived(ms / 100, AtMs(ms));
  for (int64_t ms = 0; ms <= 30000; ms += 100) seldom.Arrived(ms / 100, AtMs(ms));
  CHECK(often.arrivals_per_second() == Approx(seldom.arrivals_per_second()).epsilon(0.001));
}

TEST_CASE("The stay is that of the latest requests, the first one's at first") {
  LoadMeter meter;
  CHECK(meter.stay() == absl::ZeroDuration());
  meter.Ended(absl::Seconds(4));
  CHECK(meter.stay() == absl::Seconds(4));
  meter.Ended(absl::Seconds(2));
  CHECK(absl::ToDoubleSeconds(meter.stay()) == Approx(3.8));
  for (int i = 0; i < 100; ++i) meter.Ended(absl::Seconds(1));
  CHECK(absl::ToDoubleSeconds(meter.stay()) == Approx(1).margin(0.01));
}

}  // namespace
}  // namespace glimpse

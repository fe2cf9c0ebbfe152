// The live line of a training run, and the warnings that a person must see.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/trainer.h"

namespace conclave::train {

class TrainingProgress {
 public:
  // peak_flops: of the machine for the type used, operations a second; 0: not shown.
  TrainingProgress(double flops_per_token, double peak_flops, bool quiet);

  // Rewrites the line on a terminal; a plain line now and then elsewhere.
  void show(const StepReport& report, std::int64_t total_steps, double tokens_per_second,
            double seconds_left);
  // A line that stays, above the live one.
  void say(const std::string& line);
  void finish();

 private:
  double flops_per_token_;
  double peak_flops_;
  bool quiet_;
  bool terminal_;
  bool live_ = false;
  double last_plain_ = -1e9;  // time of the last plain line
};

// Looks at the routing of the last steps; gives a warning once where a router collapses (one expert
// takes more than three quarters of what it could) or experts starve (under a tenth of their
// share).
class BalanceWatch {
 public:
  // The warning, or nothing.
  std::string observe(const StepReport& report);

 private:
  std::vector<moe::RoutingStatistics> window_L_;
  int steps_ = 0;
};

// "1h 02m", "3m 05s", "12s".
std::string format_duration(double seconds);
// "1.23 M", "45.6 k".
std::string format_count(double value);

}  // namespace conclave::train

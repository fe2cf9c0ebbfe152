#include "train/progress.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

namespace conclave::train {
namespace {

constexpr int kWatchedSteps = 50;        // shorter windows warn about the noise of single batches
constexpr double kPlainLineSeconds = 5;  // where the output is a file

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string format_duration(double seconds) {
  const auto s = static_cast<std::int64_t>(std::max(0.0, std::round(seconds)));
  if (s >= 3600) return fmt::format("{}h {:02}m", s / 3600, s % 3600 / 60);
  if (s >= 60) return fmt::format("{}m {:02}s", s / 60, s % 60);
  return fmt::format("{}s", s);
}

std::string format_count(double value) {
  if (value >= 1e9) return fmt::format("{:.2f} G", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.2f} M", value / 1e6);
  if (value >= 1e3) return fmt::format("{:.1f} k", value / 1e3);
  return fmt::format("{:.0f}", value);
}

TrainingProgress::TrainingProgress(double flops_per_token, double peak_flops, bool quiet)
    : flops_per_token_(flops_per_token),
      peak_flops_(peak_flops),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) != 0) {}

void TrainingProgress::show(const StepReport& report, std::int64_t total_steps,
                            double tokens_per_second, double seconds_left) {
  if (quiet_) return;
  if (!terminal_ && now() - last_plain_ < kPlainLineSeconds && report.step != total_steps) return;
  last_plain_ = now();
  std::string line = fmt::format("step {}", report.step);
  if (total_steps > 0) line += fmt::format("/{}", total_steps);
  line += fmt::format("  loss {:.3f}  {} tok/s", report.loss, format_count(tokens_per_second));
  if (peak_flops_ > 0) {
    line += fmt::format(" ({:.0f} % of peak)",
                        100 * tokens_per_second * flops_per_token_ / peak_flops_);
  }
  line += fmt::format("  maxvio {:.2f}  lr {:.2e}", worst_violation(report.routing_L),
                      report.learning_rate);
  if (total_steps > 0) line += fmt::format("  {} left", format_duration(seconds_left));
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
    live_ = true;
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  std::fflush(stderr);
}

void TrainingProgress::say(const std::string& line) {
  if (live_) std::fprintf(stderr, "\r\033[K");
  live_ = false;
  std::fprintf(stderr, "%s\n", line.c_str());
}

void TrainingProgress::finish() {
  if (live_) std::fprintf(stderr, "\n");
  live_ = false;
}

std::string BalanceWatch::observe(const StepReport& report) {
  window_L_.resize(report.routing_L.size());
  for (std::size_t layer = 0; layer < window_L_.size(); ++layer) {
    window_L_[layer].merge(report.routing_L[layer]);
  }
  if (++steps_ < kWatchedSteps) return "";
  std::string warning;
  for (std::size_t layer = 0; layer < window_L_.size() && warning.empty(); ++layer) {
    const moe::RoutingStatistics& routing = window_L_[layer];
    if (routing.choices() == 0) continue;
    const auto counts = routing.tokens_per_expert();
    const double mean = static_cast<double>(routing.choices()) / static_cast<double>(counts.size());
    const double largest = static_cast<double>(*std::max_element(counts.begin(), counts.end()));
    const auto starving = std::count_if(counts.begin(), counts.end(), [&](std::int64_t n) {
      return static_cast<double>(n) < 0.1 * mean;
    });
    if (largest > 0.75 * static_cast<double>(routing.tokens())) {
      warning = fmt::format(
          "the router of layer {} has collapsed: one expert takes {:.0f} % of the "
          "tokens. Raise loss.load_balance or router.bias_rate",
          layer, 100 * largest / static_cast<double>(routing.tokens()));
    } else if (starving > 0) {
      warning = fmt::format(
          "{} of {} experts of layer {} starve (under a tenth of their share). "
          "Raise loss.load_balance or router.bias_rate",
          starving, counts.size(), layer);
    }
  }
  for (moe::RoutingStatistics& routing : window_L_) routing.reset();
  steps_ = 0;
  return warning;
}

}  // namespace conclave::train

// history.jsonl: one line of JSON for each logged step, for reports and plots. A resumed run drops
// the lines after the step that it resumes from and goes on.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "train/trainer.h"

namespace conclave::train {

struct HistoryEntry {
  std::int64_t step = 0;
  std::int64_t tokens = 0;
  double loss = 0;                         // training, nats per token
  std::optional<double> heldout_loss;      // mean over domains, nats per token
  std::optional<double> heldout_per_byte;  // nats per byte
  double learning_rate = 0;
  double tokens_per_second = 0;  // smoothed over steps
  double seconds = 0;            // of this step
  double gradient_norm = 0;
  double load_balance = 0;  // the auxiliary losses, unweighted
  double z_loss = 0;
  std::vector<double> maxvio_L;  // of the step's tokens, one a layer
};

class History {
 public:
  // Opens `path`, keeping entries up to step `keep_until` and dropping the rest. Throws Error(kIo).
  History(std::string path, std::int64_t keep_until);
  void add(HistoryEntry entry);
  void replace_last(HistoryEntry entry) { entries_.back() = std::move(entry); }
  const std::vector<HistoryEntry>& entries() const { return entries_; }
  // Writes what is new. Called now and then, not for each entry.
  void flush();

 private:
  std::string path_;
  std::vector<HistoryEntry> entries_;
};

// All entries of a file; an empty list where there is none. Throws Error(kBadFile).
std::vector<HistoryEntry> read_history(const std::string& path);

}  // namespace conclave::train

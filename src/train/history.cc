#include "train/history.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/json.h"
#include "sys/files.h"

namespace conclave::train {
namespace {

nlohmann::json to_json(const HistoryEntry& e) {
  nlohmann::json json = {{"step", e.step},
                         {"tokens", e.tokens},
                         {"loss", e.loss},
                         {"learning_rate", e.learning_rate},
                         {"tokens_per_second", e.tokens_per_second},
                         {"seconds", e.seconds},
                         {"gradient_norm", e.gradient_norm},
                         {"load_balance", e.load_balance},
                         {"z_loss", e.z_loss},
                         {"maxvio", e.maxvio_L}};
  if (e.heldout_loss) json["heldout_loss"] = *e.heldout_loss;
  if (e.heldout_per_byte) json["heldout_per_byte"] = *e.heldout_per_byte;
  return json;
}

HistoryEntry from_json(const io::JsonView& json) {
  constexpr double kAny = 1e300;
  HistoryEntry e;
  e.step = json.integer("step", 0, INT64_MAX);
  e.tokens = json.integer("tokens", 0, INT64_MAX);
  e.loss = json.number("loss", -kAny, kAny);
  e.learning_rate = json.number("learning_rate", 0, kAny, 0);
  e.tokens_per_second = json.number("tokens_per_second", 0, kAny, 0);
  e.seconds = json.number("seconds", 0, kAny, 0);
  e.gradient_norm = json.number("gradient_norm", 0, kAny, 0);
  e.load_balance = json.number("load_balance", -kAny, kAny, 0);
  e.z_loss = json.number("z_loss", -kAny, kAny, 0);
  if (json.has("maxvio")) e.maxvio_L = json.numbers("maxvio");
  if (json.has("heldout_loss")) e.heldout_loss = json.number("heldout_loss", -kAny, kAny);
  if (json.has("heldout_per_byte"))
    e.heldout_per_byte = json.number("heldout_per_byte", -kAny, kAny);
  return e;
}

}  // namespace

std::vector<HistoryEntry> read_history(const std::string& path) {
  std::vector<HistoryEntry> entries;
  if (!std::filesystem::exists(path)) return entries;
  const std::string text = sys::read_file(path, std::uint64_t{1} << 30);
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    if (end > begin) {
      const nlohmann::json json = io::parse_json(text.substr(begin, end - begin), path);
      entries.push_back(from_json(io::JsonView(json, path)));
    }
    begin = end + 1;
  }
  return entries;
}

History::History(std::string path, std::int64_t keep_until) : path_(std::move(path)) {
  if (keep_until <= 0) return;
  for (HistoryEntry& entry : read_history(path_)) {
    if (entry.step <= keep_until) entries_.push_back(std::move(entry));
  }
}

void History::add(HistoryEntry entry) { entries_.push_back(std::move(entry)); }

void History::flush() {
  std::string text;
  for (const HistoryEntry& entry : entries_) text += to_json(entry).dump() + "\n";
  sys::write_file_atomically(path_, text);
}

}  // namespace conclave::train

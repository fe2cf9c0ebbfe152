// The HTML report of a run or a model: one file that opens in any browser, from a disk, without a
// network. It holds the page (web/report/), the chart library (web/vendor/dygraphs/) and the data
// as JSON; scripts in the page draw it. A content security policy in the page forbids it to load
// anything and forbids scripts in attributes.
//
// Everything that comes from outside (labels, tokens, samples, names) travels only inside the JSON,
// where no character can end it, and is put on the page as text, never as HTML.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "inspect/routing_summary.h"

namespace conclave::inspect {

// One of the headline figures: {"Parameters", "12.4 M", "3.9 M active per token"}.
struct ReportFact {
  std::string name;
  std::string value;
  std::string note;  // may be empty
};

struct HeldOutLoss {
  std::string label;
  std::int64_t tokens = 0;
  double nats_per_token = 0;
  std::optional<double> bits_per_byte;  // absent where the text's bytes are not known
};

// One logged step of a training run. Values that are not finite are shown as gaps.
struct HistoryPoint {
  std::int64_t step = 0;
  std::int64_t tokens = 0;  // seen so far
  double loss = 0;          // nats/token
  std::optional<double> heldout_loss;
  double learning_rate = 0;
  double tokens_per_second = 0;
  std::vector<double> max_vio_L;  // per MoE layer, may be empty
};

struct ReportSample {
  std::string label;  // domain, may be empty
  std::string prompt;
  std::string text;  // what the model went on with
};

// Every part may be empty; its section is left out then.
struct ReportData {
  std::string title;
  std::string subtitle;
  std::vector<ReportFact> facts;
  std::vector<HeldOutLoss> heldout;
  std::vector<HistoryPoint> history;  // by ascending step
  std::optional<RoutingSummary> routing;
  std::vector<ReportSample> samples;
};

// Longer histories are averaged down to this many points or fewer: more than the pixels of a
// screen's width show nothing, and a run of a million steps would make a file of 100 MB.
inline constexpr std::size_t kMaxHistoryPoints = 1500;
// E x E tables are put on the page up to this many experts; routing.json has the larger ones.
inline constexpr int kMaxReportPairExperts = 128;

// The whole page. The same data gives the same bytes.
std::string render_report(const ReportData& data);

// Writes it in one piece (sys::write_file_atomically). Throws Error(kIo).
void write_report(const std::string& path, const ReportData& data);

// JSON text made safe inside a <script> element: '<', '>', '&', U+2028 and U+2029, which JSON has
// only inside strings, become \u escapes. `json` must be valid JSON.
std::string script_safe_json(std::string_view json);

// '&', '<', '>', '"' and ''' as character references.
std::string html_escape(std::string_view text);

}  // namespace conclave::inspect

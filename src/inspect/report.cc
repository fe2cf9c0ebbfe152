// The report: data to JSON, JSON into the page; see report.h for what keeps hostile text harmless.
#include "inspect/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "inspect/display_text.h"
#include "inspect/report_assets.h"
#include "inspect/routing_json.h"
#include "sys/files.h"

namespace conclave::inspect {
namespace {

using nlohmann::json;

// In the order in which they run.
constexpr std::array<std::string_view, 7> kScripts = {
    "report/base.js",    "report/training.js", "report/overview.js", "report/heatmaps.js",
    "report/experts.js", "report/flow.js",     "report/main.js"};

std::string_view asset(std::string_view file) {
  const std::string_view bytes = report_asset(file);
  CONCLAVE_CHECK(bytes.data() != nullptr, "{} is not embedded in this program", file);
  return bytes;
}

// Averages history[begin, end) into one point: step and tokens of the last, held-out loss of the
// last that has one.
HistoryPoint average(const std::vector<HistoryPoint>& history, std::size_t begin, std::size_t end) {
  HistoryPoint mean = history[end - 1];
  const double n = static_cast<double>(end - begin);
  const auto average_of = [&](auto value) {
    double sum = 0;
    for (std::size_t i = begin; i < end; ++i) sum += value(history[i]);
    return sum / n;
  };
  mean.loss = average_of([](const HistoryPoint& point) { return point.loss; });
  mean.tokens_per_second =
      average_of([](const HistoryPoint& point) { return point.tokens_per_second; });
  for (std::size_t layer = 0; layer < mean.max_vio_L.size(); ++layer) {
    mean.max_vio_L[layer] = average_of([&](const HistoryPoint& point) {
      return layer < point.max_vio_L.size() ? point.max_vio_L[layer] : 0;
    });
  }
  for (std::size_t i = end; i-- > begin && !mean.heldout_loss;) {
    mean.heldout_loss = history[i].heldout_loss;
  }
  return mean;
}

std::vector<HistoryPoint> thinned(const std::vector<HistoryPoint>& history) {
  const std::size_t stride = (history.size() + kMaxHistoryPoints - 1) / kMaxHistoryPoints;
  if (stride <= 1) return history;
  std::vector<HistoryPoint> points;
  for (std::size_t begin = 0; begin < history.size(); begin += stride) {
    points.push_back(average(history, begin, std::min(history.size(), begin + stride)));
  }
  return points;
}

// JSON has no NaN or infinity.
json number(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

json optional_number(const std::optional<double>& value) {
  return value ? number(*value) : json(nullptr);
}

json history_json(const std::vector<HistoryPoint>& history) {
  json points = json::array();
  for (const HistoryPoint& point : thinned(history)) {
    json max_vio = json::array();
    for (const double value : point.max_vio_L) max_vio.push_back(number(value));
    points.push_back({{"step", point.step},
                      {"tokens", point.tokens},
                      {"loss", number(point.loss)},
                      {"heldout", optional_number(point.heldout_loss)},
                      {"lr", number(point.learning_rate)},
                      {"tokens_per_second", number(point.tokens_per_second)},
                      {"max_vio", std::move(max_vio)}});
  }
  return points;
}

json report_json(const ReportData& data) {
  json facts = json::array();
  for (const ReportFact& fact : data.facts) {
    facts.push_back({{"name", display_name(fact.name)},
                     {"value", display_name(fact.value)},
                     {"note", display_name(fact.note)}});
  }
  json heldout = json::array();
  for (const HeldOutLoss& loss : data.heldout) {
    heldout.push_back({{"label", display_name(loss.label)},
                       {"tokens", loss.tokens},
                       {"nats_per_token", number(loss.nats_per_token)},
                       {"bits_per_byte", optional_number(loss.bits_per_byte)}});
  }
  json samples = json::array();
  for (const ReportSample& sample : data.samples) {
    samples.push_back({{"label", display_name(sample.label)},
                       {"prompt", display_text(sample.prompt)},
                       {"text", display_text(sample.text)}});
  }
  return {{"facts", std::move(facts)},
          {"heldout", std::move(heldout)},
          {"history", history_json(data.history)},
          {"samples", std::move(samples)},
          {"routing",
           data.routing ? routing_json(*data.routing, kMaxReportPairExperts) : json(nullptr)}};
}

std::string page_content(std::string_view name, const ReportData& data) {
  if (name == "title") return html_escape(display_name(data.title));
  if (name == "subtitle") return html_escape(display_name(data.subtitle));
  if (name == "styles") {
    return std::string(asset("vendor/dygraphs/dygraph.css")) +
           std::string(asset("report/report.css"));
  }
  if (name == "data") return script_safe_json(report_json(data).dump());
  if (name == "chart_library") {
    // Its licence asks for the notice in every copy.
    return fmt::format("/*\n{}*/\n{}", asset("vendor/dygraphs/LICENSE"),
                       asset("vendor/dygraphs/dygraph.min.js"));
  }
  CONCLAVE_CHECK(name == "scripts", "web/report/report.html asks for '{}'", name);
  std::string scripts;
  for (const std::string_view script : kScripts) scripts += asset(script);
  return scripts;
}

}  // namespace

std::string script_safe_json(std::string_view json) {
  std::string safe;
  safe.reserve(json.size() + json.size() / 16);
  for (std::size_t i = 0; i < json.size(); ++i) {
    const std::string_view rest = json.substr(i);
    if (rest[0] == '<') {
      safe += "\\u003c";
    } else if (rest[0] == '>') {
      safe += "\\u003e";
    } else if (rest[0] == '&') {
      safe += "\\u0026";
    } else if (rest.starts_with("\xe2\x80\xa8") || rest.starts_with("\xe2\x80\xa9")) {
      safe += rest[2] == '\xa8' ? "\\u2028" : "\\u2029";
      i += 2;
    } else {
      safe += rest[0];
    }
  }
  return safe;
}

std::string html_escape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

// The page's {{name}} marks are replaced in one pass: what is put in is never looked at again.
std::string render_report(const ReportData& data) {
  std::string_view rest = asset("report/report.html");
  std::string page;
  while (true) {
    const std::size_t open = rest.find("{{");
    page += rest.substr(0, open);
    if (open == std::string_view::npos) return page;
    rest.remove_prefix(open + 2);
    const std::size_t close = rest.find("}}");
    CONCLAVE_CHECK(close != std::string_view::npos, "web/report/report.html: {{{{ without end");
    page += page_content(rest.substr(0, close), data);
    rest.remove_prefix(close + 2);
  }
}

void write_report(const std::string& path, const ReportData& data) {
  sys::write_file_atomically(path, render_report(data));
}

}  // namespace conclave::inspect

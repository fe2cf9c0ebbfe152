#include "inspect/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"

namespace conclave::inspect {
namespace {

using nlohmann::json;

constexpr const char* kHostile =
    "</script><img src=x onerror=alert(1)>\xe2\x80\xa8<!--&'\"{{data}}";

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

std::string data_text(const std::string& page) {
  const std::string open = "<script type=\"application/json\" id=\"report-data\">";
  const std::size_t begin = page.find(open) + open.size();
  return page.substr(begin, page.find("</script>", begin) - begin);
}

// The page without the chart library, which has code for icons and remote data that is not used
// here (and that the content security policy forbids).
std::string own_part(std::string page) {
  const std::size_t begin = page.find("<script>\n/*");
  return page.erase(begin, page.find("</script>", begin) - begin);
}

json data_of(const std::string& page) { return json::parse(data_text(page)); }

// Hostile in every place that text can come from.
ReportData hostile_report() {
  ReportData data;
  data.title = kHostile;
  data.subtitle = kHostile;
  data.facts = {{kHostile, kHostile, kHostile}};
  data.heldout = {{kHostile, 10, 2.5, 1.25}};
  data.samples = {{kHostile, kHostile, kHostile}};
  RoutingAnalysis analysis(1, 2, 1, {kHostile, "\xff\xfe"}, 4);
  moe::RoutingDecision decision;
  decision.n_tokens = 40;
  decision.n_experts = 2;
  decision.k = 1;
  const std::vector<std::int32_t> ids(40, 1);
  decision.topk_ids_TK.assign(40, 1);
  decision.topk_weights_TK.assign(40, 1);
  analysis.add(0, 0, ids, decision);
  decision.topk_ids_TK.assign(40, 0);
  analysis.add(1, 0, ids, decision);
  SummaryOptions options;
  options.token_text = [](std::int32_t) { return std::string(kHostile); };
  data.routing = summarise(analysis, options);
  return data;
}

TEST(Report, HostileTextEndsNoElement) {
  const std::string page = render_report(hostile_report());
  const std::string harmless = render_report({});
  for (const char* mark : {"<img", "<!--", "</script", "<script", "onerror=alert(1)>"}) {
    EXPECT_EQ(count_of(page, mark), count_of(harmless, mark)) << mark;
  }
  EXPECT_EQ(data_text(page).find_first_of("<>&"), std::string::npos);
  EXPECT_EQ(count_of(data_text(page), "\xe2\x80\xa8"), 0u);
  // What was put in is not searched for marks again, nor lost.
  const json data = data_of(page);
  EXPECT_EQ(data["samples"][0]["text"],
            "</script><img src=x onerror=alert(1)><U+2028><!--&'\"{{data}}");
  EXPECT_NE(page.find("<h1>&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;"), std::string::npos);
  EXPECT_NE(page.find("&amp;&#39;&quot;{{data}}</h1>"), std::string::npos);
}

TEST(Report, LoadsNothing) {
  const std::string page = own_part(render_report(hostile_report()));
  EXPECT_LT(page.size(), 100'000u);
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
  for (const char* mark : {"src=\"", "src='", "url(", "@import", "<link", "<iframe", "<base",
                           "sourceMappingURL", "fetch(", "XMLHttpRequest"}) {
    EXPECT_EQ(count_of(page, mark), 0u) << mark;
  }
  // Links lead only to places in the page; no address stands in any attribute.
  EXPECT_EQ(count_of(page, "href=\"http"), 0u);
  EXPECT_EQ(count_of(page, "href=\""), count_of(page, "href=\"#"));
}

TEST(Report, IsAWholePage) {
  const std::string page = render_report(hostile_report());
  EXPECT_TRUE(page.starts_with("<!DOCTYPE html>"));
  EXPECT_TRUE(page.ends_with("</html>\n"));
  EXPECT_NE(page.find("<html lang=\"en\">"), std::string::npos);
  EXPECT_NE(page.find("Permission is hereby granted"), std::string::npos);  // of the chart library
  for (const char* element : {"head", "style", "main", "body", "header", "nav", "h1", "script"}) {
    EXPECT_EQ(count_of(page, std::string("<") + element + ">") +
                  count_of(page, std::string("<") + element + " "),
              count_of(page, std::string("</") + element + ">"))
        << element;
  }
  EXPECT_EQ(count_of(own_part(render_report({})), "{{"), 0u);
}

TEST(Report, EmptyParts) {
  const json data = data_of(render_report({}));
  EXPECT_TRUE(data["routing"].is_null());
  for (const char* key : {"facts", "heldout", "history", "samples"}) {
    EXPECT_TRUE(data[key].is_array() && data[key].empty()) << key;
  }
}

TEST(Report, ValuesArrive) {
  ReportData data;
  data.history = {{10, 1000, 5.5, std::nullopt, 1e-3, 200, {0.5, 1}},
                  {20, 2000, std::nan(""), 5.25, 2e-3, 300, {0.25, 2}}};
  data.heldout = {{"a", 7, std::numeric_limits<double>::infinity(), std::nullopt}};
  const json page = data_of(render_report(data));
  EXPECT_EQ(page["history"], (json::parse(R"([
      {"step": 10, "tokens": 1000, "loss": 5.5, "heldout": null, "lr": 0.001,
       "tokens_per_second": 200.0, "max_vio": [0.5, 1.0]},
      {"step": 20, "tokens": 2000, "loss": null, "heldout": 5.25, "lr": 0.002,
       "tokens_per_second": 300.0, "max_vio": [0.25, 2.0]}])")));
  EXPECT_TRUE(page["heldout"][0]["nats_per_token"].is_null());
  EXPECT_TRUE(page["heldout"][0]["bits_per_byte"].is_null());
}

TEST(Report, LongHistoriesAreAveraged) {
  ReportData data;
  for (int i = 0; i < 10'000; ++i) {
    HistoryPoint point;
    point.step = i + 1;
    point.loss = i;
    point.max_vio_L = {2.0 * i};
    if (i % 1000 == 2) point.heldout_loss = i;
    data.history.push_back(point);
  }
  const json history = data_of(render_report(data))["history"];
  EXPECT_LE(history.size(), kMaxHistoryPoints);
  EXPECT_EQ(history.back()["step"], 10'000);
  EXPECT_EQ(history[0]["step"], 7);  // ceil(10000 / 1500) steps a point
  EXPECT_EQ(history[0]["loss"], 3);
  EXPECT_EQ(history[0]["max_vio"][0], 6);
  std::size_t with_heldout = 0;
  for (const json& point : history) with_heldout += !point["heldout"].is_null();
  EXPECT_EQ(with_heldout, 10u);
}

TEST(Report, WritesTheFileOrSaysWhyNot) {
  const std::string path = testing::TempDir() + "/conclave_report_test.html";
  const ReportData data = hostile_report();
  write_report(path, data);
  std::ifstream file(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(content, render_report(data));
  std::filesystem::remove(path);
  try {
    write_report(testing::TempDir() + "/no such folder/report.html", data);
    FAIL() << "wrote into a folder that is not there";
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("no such folder"), std::string::npos);
  }
}

TEST(ScriptSafeJson, EscapesAndMeansTheSame) {
  const json value = {{"<a>&", "\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa </script>"}};
  const std::string safe = script_safe_json(value.dump());
  EXPECT_EQ(safe,
            "{\"\\u003ca\\u003e\\u0026\":\"\\u2028\\u2029\xe2\x80\xaa \\u003c/script\\u003e\"}");
  EXPECT_EQ(json::parse(safe), value);
  EXPECT_EQ(script_safe_json("\"\xe2\x80"), "\"\xe2\x80");  // cut short: no reading past the end
}

TEST(HtmlEscape, Characters) {
  EXPECT_EQ(html_escape("<a b=\"c\">'&amp;"), "&lt;a b=&quot;c&quot;&gt;&#39;&amp;amp;");
}

}  // namespace
}  // namespace conclave::inspect

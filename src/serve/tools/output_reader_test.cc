#include "serve/tools/output_reader.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "serve/tools/python_call.h"

namespace conclave::serve {
namespace {

using nlohmann::json;

// What an answer comes to: texts joined, calls one after the other.
struct Read {
  std::string text, reasoning;
  std::vector<ToolCall> calls;
};

Read read_in_pieces(const ReaderOptions& options, const std::string& output,
                    const std::vector<std::size_t>& cuts) {
  const auto reader = make_output_reader(options);
  Read read;
  const auto take = [&](const OutputPieces& pieces) {
    for (const OutputPiece& piece : pieces) {
      if (piece.kind == OutputPiece::Kind::kText) read.text += piece.text;
      if (piece.kind == OutputPiece::Kind::kReasoning) read.reasoning += piece.text;
      if (piece.kind == OutputPiece::Kind::kCall || piece.kind == OutputPiece::Kind::kCallStart)
        read.calls.push_back(piece.call);
      if (piece.kind == OutputPiece::Kind::kArguments) read.calls.back().arguments += piece.text;
    }
  };
  std::size_t at = 0;
  for (const std::size_t cut : cuts) {
    take(reader->push(std::string_view(output).substr(at, cut - at), false));
    at = cut;
  }
  take(reader->push(std::string_view(output).substr(at), true));
  return read;
}

// A stream comes to the same calls, where what looks like a call is one.
void expect_stream(const Read& whole, const Read& streamed, const std::string& output) {
  for (const ToolCall& call : streamed.calls) {
    if (!json::accept(call.arguments)) return;  // broken, and sent already
  }
  if (whole.calls.empty() && !streamed.calls.empty()) return;
  EXPECT_EQ(streamed.text, whole.text) << output;
  EXPECT_EQ(streamed.reasoning, whole.reasoning) << output;
  ASSERT_EQ(streamed.calls.size(), whole.calls.size()) << output;
  for (std::size_t i = 0; i < whole.calls.size(); ++i) {
    EXPECT_EQ(streamed.calls[i].name, whole.calls[i].name) << output;
    if (!streamed.calls[i].id.empty()) {
      EXPECT_EQ(streamed.calls[i].id, whole.calls[i].id) << output;
    }
    EXPECT_EQ(json::parse(streamed.calls[i].arguments), json::parse(whole.calls[i].arguments))
        << output;
  }
}

// The same whole, byte by byte and cut at random.
Read read_all(const ReaderOptions& options, const std::string& output) {
  const Read whole = read_in_pieces(options, output, {});
  std::vector<std::size_t> each;
  for (std::size_t i = 1; i < output.size(); ++i) each.push_back(i);
  std::mt19937 rng(1);
  for (int round = 0; round < 12; ++round) {
    std::vector<std::size_t> cuts;
    for (const std::size_t i : each) {
      if (round == 0 || rng() % 5 == 0) cuts.push_back(i);
    }
    const Read read = read_in_pieces(options, output, cuts);
    EXPECT_EQ(read.text, whole.text) << output;
    EXPECT_EQ(read.reasoning, whole.reasoning) << output;
    EXPECT_EQ(read.calls.size(), whole.calls.size()) << output;
    ReaderOptions streaming = options;
    streaming.stream = true;
    expect_stream(whole, read_in_pieces(streaming, output, cuts), output);
  }
  return whole;
}

ReaderOptions form(ToolForm tools, const char* open = "", const char* close = "") {
  ReaderOptions options;
  options.form.tools = tools;
  options.form.open = open;
  options.form.close = close;
  options.tools = tools != ToolForm::kNone;
  return options;
}

void expect_calls(const Read& read,
                  const std::vector<std::pair<std::string, std::string>>& expected) {
  ASSERT_EQ(read.calls.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(read.calls[i].name, expected[i].first);
    EXPECT_EQ(read.calls[i].arguments, expected[i].second);
  }
}

TEST(OutputReader, TaggedCallsAndReasoning) {
  ReaderOptions o = form(ToolForm::kTagged, "<tool_call>", "</tool_call>");
  o.form.think_open = "<think>";
  o.form.think_close = "</think>";
  Read r =
      read_all(o,
               "<think>\nWhich < tool?\n</think>\n\nLet me look.\n<tool_call>\n{\"name\": \"f\", "
               "\"arguments\": {\"z\": 1, \"a\": \"</x>\"}}\n</tool_call>\n<tool_call>\n{\"name\": "
               "\"g\", \"arguments\": {}}\n</tool_call>");
  EXPECT_EQ(r.reasoning, "Which < tool?");
  EXPECT_EQ(r.text, "Let me look.");
  expect_calls(r, {{"f", R"({"z":1,"a":"</x>"})"}, {"g", "{}"}});
  o.thinking = true;
  r = read_all(o, "because\n</think>\n\nYes.");
  EXPECT_EQ(r.reasoning, "because");
  EXPECT_EQ(r.text, "Yes.");
  o.thinking = false;
  r = read_all(o, "No <thinking> and no <tool_calls> here <tool");
  EXPECT_EQ(r.text, "No <thinking> and no <tool_calls> here <tool");
  r = read_all(o, "<tool_call>\nnot json\n</tool_call> after");
  EXPECT_EQ(r.text, "<tool_call>\nnot json\n</tool_call> after");
  EXPECT_TRUE(r.calls.empty());
  r = read_all(o, "<tool_call>{\"name\": \"f\", \"arguments\": {");  // cut off
  EXPECT_TRUE(r.calls.empty());
  EXPECT_EQ(r.text, "<tool_call>{\"name\": \"f\", \"arguments\": {");
  o.tools = false;
  r = read_all(o, "a <tool_call>{\"name\": \"f\"}</tool_call>");
  EXPECT_EQ(r.text, "a <tool_call>{\"name\": \"f\"}</tool_call>");
}

TEST(OutputReader, KeyedCalls) {
  ReaderOptions o = form(ToolForm::kKeyed, "<tool_call>", "</tool_call>");
  o.string_arguments["f"] = {"s"};
  const Read r =
      read_all(o,
               "<tool_call>f\n<arg_key>s</arg_key>\n<arg_value>12</arg_value>\n<arg_key>n"
               "</arg_key>\n<arg_value>[1, 2]</arg_value>\n<arg_key>u</arg_key>\n<arg_value>"
               "plain text</arg_value>\n</tool_call>");
  expect_calls(r, {{"f", R"({"s":"12","n":[1,2],"u":"plain text"})"}});
}

TEST(OutputReader, FunctionCalls) {
  ReaderOptions o = form(ToolForm::kFunction, "<tool_call>", "</tool_call>");
  o.string_arguments["f"] = {"s"};
  const Read r = read_all(
      o,
      "Yes.\n<tool_call>\n<function=f>\n<parameter=s>\n12\n\n34 > 1\n</parameter>\n<parameter=n>\n"
      "[1, 2]\n</parameter>\n<parameter=b>\nTrue\n</parameter>\n</function>\n</tool_call>\n"
      "<tool_call>\n<function=g>\n</function>\n</tool_call>");
  EXPECT_EQ(r.text, "Yes.");
  expect_calls(r, {{"f", R"({"s":"12\n\n34 > 1","n":[1,2],"b":true})"}, {"g", "{}"}});
  const char* const cut = "<tool_call>\n<function=f>\n<parameter=s>\n1</tool_call>";
  EXPECT_EQ(read_all(o, cut).text, cut);
}

TEST(OutputReader, Lists) {
  Read r = read_all(form(ToolForm::kList, "[TOOL_CALLS]"),
                    " Sure.[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": "
                    "\"abc123def\"}, {\"name\": \"g\", \"arguments\": \"{}\"}]");
  EXPECT_EQ(r.text, " Sure.");
  expect_calls(r, {{"f", R"({"a":1})"}, {"g", "{}"}});
  EXPECT_EQ(r.calls[0].id, "abc123def");
  r = read_all(form(ToolForm::kList, "<|tool_call|>"),
               "<|tool_call|>[{\"name\":\"f\",\"arguments\":{}}]");
  expect_calls(r, {{"f", "{}"}});
  r = read_all(form(ToolForm::kList, "<tool_calls>", "</tool_calls>"),
               "So <tool_calls>\n[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]\n</tool_calls>.");
  EXPECT_EQ(r.text, "So.");
  expect_calls(r, {{"f", R"({"a":1})"}});
  r = read_all(form(ToolForm::kNamed, "[TOOL_CALLS]"),
               "[TOOL_CALLS]f[CALL_ID]123456789[ARGS]{\"a\": [1]}[TOOL_CALLS]g[ARGS]{}");
  expect_calls(r, {{"f", R"({"a":[1]})"}, {"g", "{}"}});
  EXPECT_EQ(r.calls[0].id, "123456789");
}

TEST(OutputReader, BareCalls) {
  const ReaderOptions o = form(ToolForm::kBare);
  expect_calls(read_all(o, "{\"name\": \"f\", \"parameters\": {\"a\": \"b; c\"}}"),
               {{"f", R"({"a":"b; c"})"}});
  expect_calls(read_all(o,
                        "<|python_tag|>{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", "
                        "\"parameters\": {}}"),
               {{"f", "{}"}, {"g", "{}"}});
  expect_calls(read_all(o, "[f(a=1, b='it\\'s', c=[True, None, {'k': -2.5}]), g.h()]"),
               {{"f", R"({"a":1,"b":"it's","c":[true,null,{"k":-2.5}]})"}, {"g.h", "{}"}});
  EXPECT_EQ(read_all(o, "[1, 2] is a list").text, "[1, 2] is a list");
  EXPECT_EQ(read_all(o, "{\"a\": 1}").text, "{\"a\": 1}");
  EXPECT_EQ(read_all(o, "Hello {x}").text, "Hello {x}");
}

TEST(OutputReader, DeepSeekAndKimi) {
  const char* const open = "<\uff5ctool\u2581calls\u2581begin\uff5c>";
  const char* const close = "<\uff5ctool\u2581calls\u2581end\uff5c>";
  const std::string call = marks::kDeepCall, separator = marks::kDeepSeparator,
                    end = marks::kDeepEnd;
  Read r = read_all(form(ToolForm::kFenced, open, close),
                    "Yes." + (open + call) + "function" + separator +
                        "f\n```json\n{\"a\": 1}\n```" + end + "\n" + call + "function" + separator +
                        "g\n```json\n{}\n```" + end + close);
  EXPECT_EQ(r.text, "Yes.");
  expect_calls(r, {{"f", R"({"a":1})"}, {"g", "{}"}});
  r = read_all(form(ToolForm::kSeparated, open, close),
               open + call + "f" + separator + "{\"a\": 1}" + end + close);
  expect_calls(r, {{"f", R"({"a":1})"}});
  r = read_all(
      form(ToolForm::kSection, "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
      "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_it:0<|tool_call_argument_begin|"
      ">"
      "{\"x\": 2}<|tool_call_end|><|tool_calls_section_end|>");
  expect_calls(r, {{"get_it", R"({"x":2})"}});
  EXPECT_EQ(r.calls[0].id, "functions.get_it:0");
}

TEST(OutputReader, Channels) {
  const ReaderOptions o = form(ToolForm::kChannels);
  Read r =
      read_all(o,
               "<|channel|>analysis<|message|>Think < it.<|end|><|start|>assistant<|channel|>final"
               "<|message|>Done.");
  EXPECT_EQ(r.reasoning, "Think < it.");
  EXPECT_EQ(r.text, "Done.");
  r = read_all(o,
               "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary "
               "to=functions.f <|constrain|>json<|message|>{\"a\": 1}<|call|>");
  expect_calls(r, {{"f", R"({"a":1})"}});
  r = read_all(o, " to=functions.g<|channel|>commentary json<|message|>{}");
  expect_calls(r, {{"g", "{}"}});
  r = read_all(o, "<|channel|>commentary<|message|>I will look.<|end|>");
  EXPECT_EQ(r.text, "I will look.");
  EXPECT_EQ(read_all(o, "no header").text, "no header");
}

TEST(OutputReader, ArgumentsComeWhileTheyAreWritten) {
  const std::string call = marks::kDeepCall, separator = marks::kDeepSeparator;
  const std::string arguments = R"({"a": "x } \" <", "b": [1, {"c": 2}]})";
  const std::string object = "{\"name\": \"f\", \"arguments\": ";
  const struct {
    ToolForm form;
    std::string open, body;
  } cases[] = {{ToolForm::kTagged, "<tool_call>", "\n" + object},
               {ToolForm::kList, "[TOOL_CALLS]", "[" + object},
               {ToolForm::kNamed, "[TOOL_CALLS]", "f[ARGS]"},
               {ToolForm::kBare, "", "{\"name\": \"f\", \"parameters\": "},
               {ToolForm::kSeparated, "<calls>", call + "f" + separator},
               {ToolForm::kSection, "<calls>",
                "<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"},
               {ToolForm::kChannels, "", " to=functions.f<|channel|>commentary<|message|>"}};
  for (const auto& one : cases) {
    ReaderOptions o = form(one.form, one.open.c_str(), one.open.empty() ? "" : "</end>");
    o.stream = true;
    const auto reader = make_output_reader(o);
    OutputPieces pieces = reader->push(one.open + one.body, false);
    ASSERT_TRUE(pieces.empty()) << one.body;
    std::string name, said;
    for (const char c : arguments) {  // no close mark ever comes
      pieces = reader->push(std::string(1, c), false);
      for (const OutputPiece& piece : pieces) {
        if (piece.kind == OutputPiece::Kind::kCallStart) name += piece.call.name;
        if (piece.kind == OutputPiece::Kind::kArguments) said += piece.text;
      }
    }
    EXPECT_EQ(name, "f") << one.body;
    EXPECT_EQ(said, R"({"a":"x } \" <","b":[1,{"c":2}]})") << one.body;
  }
}

TEST(OutputReader, HostileOutputs) {
  const char* const parts[] = {
      "<tool_call>", "</tool_call>", "<think>", "</think>", "{\"name\":", "\"f\"",
      "[f(",         "a=",           "'",       "\\",       ")]",         "}",
      "<|message|>", "<|channel|>",  "to=x ",   "<|end|>",  "[ARGS]",     "\xff",
      "\n",          "[[[[[[[["};
  std::mt19937 rng(2);
  for (const ToolForm tools :
       {ToolForm::kTagged, ToolForm::kKeyed, ToolForm::kFunction, ToolForm::kNamed, ToolForm::kBare,
        ToolForm::kFenced, ToolForm::kSection, ToolForm::kChannels}) {
    ReaderOptions o = form(tools, "<tool_call>", "</tool_call>");
    o.form.think_open = "<think>";
    o.form.think_close = "</think>";
    for (int i = 0; i < 300; ++i) {
      std::string text;
      for (auto n = rng() % 12; n > 0; --n) text += parts[rng() % std::size(parts)];
      for (const ToolCall& call : read_all(o, text).calls) {
        EXPECT_TRUE(json::parse(call.arguments).is_object()) << text;
      }
    }
  }
  EXPECT_TRUE(python_calls("[f(a=" + std::string(100'000, '[') + ")]").empty());
}

}  // namespace
}  // namespace conclave::serve

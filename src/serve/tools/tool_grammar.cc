#include "serve/tools/tool_grammar.h"

#include <algorithm>

#include "base/error.h"
#include "infer/grammar/gbnf.h"
#include "infer/grammar/schema.h"
#include "io/json.h"

namespace conclave::serve {

using infer::grammar::Builder;
using infer::grammar::ExprId;
using infer::grammar::JsonParts;
using infer::grammar::RuleId;

namespace {

class AnswerGrammar {
 public:
  AnswerGrammar(const ToolRequest& request, const AnswerFormat& format, const OutputForm& form,
                const conclave::text::Tokenizer& tokenizer)
      : request_(request), format_(format), form_(form), tokenizer_(tokenizer), parts_(b_) {}

  RuleId root(bool thinking) {
    std::vector<ExprId> choices;
    const bool channels = form_.channels();
    if (request_.offered()) choices.push_back(channels ? channel_calls() : calls());
    if (request_.choice != ToolRequest::Choice::kRequired) {
      choices.push_back(channels ? b_.seq({final_head(), answer_text()}) : answer_text());
    }
    const ExprId before = channels ? b_.optional(analysis()) : reasoning(thinking);
    const ExprId body = b_.seq({before, b_.alt(std::move(choices))});
    const RuleId root = b_.add_rule("root");
    b_.define(root, body);
    return root;
  }
  const Builder& builder() const { return b_; }

 private:
  // A mark is one special token, or its text.
  ExprId mark(const std::string& text) {
    const auto id = tokenizer_.token_to_id(text);
    return id && tokenizer_.is_special(*id) ? b_.special_token(*id) : b_.bytes(text);
  }
  bool is_token(const std::string& text) const {
    const auto id = tokenizer_.token_to_id(text);
    return id && tokenizer_.is_special(*id);
  }

  // Text up to and with a mark, which is not in it: the automaton of Knuth, Morris and Pratt.
  ExprId until(const std::string& text) {
    const ExprId any = b_.chars({{0, conclave::text::kLastCodePoint}});
    if (is_token(text)) return b_.seq({b_.repeat(any, 0, -1), mark(text)});
    std::vector<RuleId> rules;  // by the number of characters that have come already
    for (std::size_t i = 0; i < text.size(); ++i) rules.push_back(b_.add_rule("until " + text));
    for (std::size_t i = 0; i < text.size(); ++i) {
      std::vector<ExprId> choices;
      conclave::text::CodePoints known;
      for (char32_t c = 0; c < 0x80; ++c) {
        if (text.find(static_cast<char>(c)) == text.npos) continue;
        known.push_back({c, c});
        const std::string seen = text.substr(0, i) + static_cast<char>(c);
        std::size_t next = std::min(seen.size(), text.size());
        while (!seen.ends_with(text.substr(0, next))) --next;
        const ExprId letter = b_.chars({{c, c}});
        choices.push_back(next == text.size() ? letter : b_.seq({letter, b_.call(rules[next])}));
      }
      const auto others = conclave::text::complement(conclave::text::normalized(known));
      choices.push_back(b_.seq({b_.chars(others), b_.call(rules[0])}));
      b_.define(rules[i], b_.alt(std::move(choices)));
    }
    return b_.call(rules[0]);
  }

  ExprId reasoning(bool thinking) {
    if (form_.think_close.empty()) return b_.bytes("");
    const ExprId space = b_.repeat(b_.bytes("\n"), 0, 2);
    const ExprId rest = b_.seq({until(form_.think_close), space});
    if (thinking) return rest;
    return b_.optional(b_.seq({mark(form_.think_open), rest}));
  }

  ExprId arguments(const Tool& tool) {
    if (tool.parameters.empty()) return parts_.any_object();
    return with_context("tool '" + tool.name + "'", [&] {
      const auto tree = io::JsonTree::parse(tool.parameters, "parameters", {.max_depth = 64});
      // Arguments are an object, also where the schema forgets to say so.
      const ExprId schema = compile_schema(tree, io::JsonTree::kRoot, parts_);
      const int type = tree.find(io::JsonTree::kRoot, "type");
      const bool object = type != io::JsonTree::kNone && tree.text(type) == "object";
      const bool open = tree.nodes() == 1;
      if (!object && !open && tree.find(io::JsonTree::kRoot, "properties") == io::JsonTree::kNone) {
        fail(ErrorKind::kInvalidArgument, "parameters: expected a schema of type 'object'");
      }
      return open ? parts_.any_object() : schema;
    });
  }

  template <class Make>
  ExprId any_tool(Make&& make) {
    std::vector<ExprId> choices;
    for (const Tool& tool : request_.tools) choices.push_back(make(tool));
    return b_.rule("call", b_.alt(std::move(choices)));
  }

  // One, or several with something between them.
  ExprId several(ExprId call, ExprId between) {
    if (!request_.parallel) return call;
    return b_.seq({call, b_.repeat(b_.seq({between, call}), 0, -1)});
  }

  ExprId object_call(const char* arguments_key) {
    return any_tool([&](const Tool& tool) {
      return b_.seq(
          {b_.bytes("{\"name\": " + io::json_quote(tool.name) + ", \"" + arguments_key + "\": "),
           arguments(tool), b_.bytes("}")});
    });
  }

  ExprId calls() {
    using namespace marks;
    switch (form_.tools) {
      case ToolForm::kTagged: {
        const ExprId call = b_.seq({mark(form_.open), b_.bytes("\n"), object_call("arguments"),
                                    b_.bytes("\n"), mark(form_.close)});
        return several(call, b_.bytes("\n"));
      }
      case ToolForm::kKeyed:
      case ToolForm::kFunction:
        return several(keyed_call(), b_.bytes("\n"));
      case ToolForm::kList:
        return b_.seq({mark(form_.open), b_.bytes("["),
                       several(object_call("arguments"), b_.bytes(", ")), b_.bytes("]"),
                       form_.close.empty() ? b_.bytes("") : mark(form_.close)});
      case ToolForm::kNamed: {
        const ExprId call = any_tool([&](const Tool& tool) {
          return b_.seq({mark(form_.open), b_.bytes(tool.name), mark(kArgs), arguments(tool)});
        });
        return several(call, b_.bytes(""));
      }
      case ToolForm::kBare:
        return object_call("parameters");
      case ToolForm::kFenced:
      case ToolForm::kSeparated:
        return b_.seq({mark(form_.open),
                       several(deep_call(), b_.bytes(form_.tools == ToolForm::kFenced ? "\n" : "")),
                       mark(form_.close)});
      case ToolForm::kSection: {
        const ExprId call = any_tool([&](const Tool& tool) {
          return b_.seq({mark(kSectionCall), b_.bytes("functions." + tool.name + ":"),
                         b_.repeat(b_.chars({{'0', '9'}}), 1, 2), mark(kSectionArguments),
                         arguments(tool), mark(kSectionEnd)});
        });
        return b_.seq({mark(form_.open), several(call, b_.bytes("")), mark(form_.close)});
      }
      case ToolForm::kNone:
      case ToolForm::kChannels:
        break;
    }
    fail(ErrorKind::kUnsupported,
         "this model's chat template shows no form of tool calls that is known");
  }

  ExprId deep_call() {
    using namespace marks;
    return any_tool([&](const Tool& tool) {
      if (form_.tools == ToolForm::kSeparated) {
        return b_.seq({mark(kDeepCall), b_.bytes(tool.name), mark(kDeepSeparator), arguments(tool),
                       mark(kDeepEnd)});
      }
      return b_.seq({mark(kDeepCall), b_.bytes("function"), mark(kDeepSeparator),
                     b_.bytes(tool.name + "\n```json\n"), arguments(tool), b_.bytes("\n```"),
                     mark(kDeepEnd)});
    });
  }

  // Strings stand there without quotes, so only those without further bounds can be kept to.
  ExprId keyed_call() {
    return any_tool([&](const Tool& tool) {
      const bool function = form_.tools == ToolForm::kFunction;
      std::vector<ExprId> parts = {
          mark(form_.open),
          b_.bytes(function ? "\n<function=" + tool.name + ">\n" : tool.name + "\n")};
      const auto tree = io::JsonTree::parse(tool.parameters.empty() ? "{}" : tool.parameters,
                                            "parameters", {.max_depth = 64});
      static_cast<void>(arguments(tool));  // refuses what is no schema
      const int properties = tree.find(io::JsonTree::kRoot, "properties");
      const int required = tree.find(io::JsonTree::kRoot, "required");
      const auto all =
          properties == io::JsonTree::kNone ? std::vector<int>{} : tree.children(properties);
      for (const int property : all) {
        const ExprId value =
            keyed_value(tree, property, tool.name, function ? "\n</parameter>" : "</arg_value>");
        const ExprId member =
            function ? b_.seq({b_.bytes("<parameter=" + tree.key(property) + ">\n"), value,
                               b_.bytes("\n")})
                     : b_.seq({mark("<arg_key>"), b_.bytes(tree.key(property)), mark("</arg_key>"),
                               b_.bytes("\n"), mark("<arg_value>"), value, b_.bytes("\n")});
        bool needed = false;
        if (required != io::JsonTree::kNone) {
          for (const int name : tree.children(required))
            needed |= tree.text(name) == tree.key(property);
        }
        parts.push_back(needed ? member : b_.optional(member));
      }
      if (function) parts.push_back(b_.bytes("</function>\n"));
      parts.push_back(mark(form_.close));
      return b_.seq(std::move(parts));
    });
  }

  // With the mark behind it.
  ExprId keyed_value(const io::JsonTree& tree, int property, const std::string& tool,
                     const char* end) {
    const int type = tree.find(property, "type");
    const bool string = type != io::JsonTree::kNone && tree.text(type) == "string";
    if (!string) return b_.seq({compile_schema(tree, property, parts_), mark(end)});
    for (const char* key :
         {"pattern", "format", "minLength", "maxLength", "const", "anyOf", "oneOf", "allOf"}) {
      if (tree.find(property, key) == io::JsonTree::kNone) continue;
      fail(ErrorKind::kInvalidArgument,
           "tool '{}': '{}' of the string '{}' cannot be kept in this model's form of calls", tool,
           key, tree.key(property).substr(0, 60));
    }
    const int values = tree.find(property, "enum");
    if (values == io::JsonTree::kNone) return until(end);
    std::vector<ExprId> choices;
    for (const int value : tree.children(values)) choices.push_back(b_.bytes(tree.text(value)));
    return b_.seq({b_.alt(std::move(choices)), mark(end)});
  }

  // Behind `<|start|>assistant`: reasoning is a message of its own.
  ExprId analysis() {
    using namespace marks;
    const ExprId any = b_.repeat(b_.chars({{0, conclave::text::kLastCodePoint}}), 0, -1);
    return b_.seq({mark(kChannel), b_.bytes("analysis"), mark(kMessage), any, mark(kEnd),
                   mark(kStart), b_.bytes("assistant")});
  }
  ExprId final_head() {
    return b_.seq({mark(marks::kChannel), b_.bytes("final"), mark(marks::kMessage)});
  }
  ExprId channel_calls() {
    using namespace marks;
    return any_tool([&](const Tool& tool) {
      const ExprId to = b_.bytes(" to=functions." + tool.name);
      const ExprId kind = b_.seq({b_.bytes(" "), b_.optional(mark(kConstrain)), b_.bytes("json")});
      const ExprId head = b_.alt({b_.seq({to, mark(kChannel), b_.bytes("commentary"), kind}),
                                  b_.seq({mark(kChannel), b_.bytes("commentary"), to, kind})});
      return b_.seq({head, mark(kMessage), arguments(tool)});
    });
  }

  // What the format asks for.
  ExprId answer_text() {
    if (format_.kind == AnswerFormat::Kind::kJsonObject) return parts_.any_object();
    if (format_.kind == AnswerFormat::Kind::kGrammar) {
      return b_.call(infer::grammar::parse_gbnf(format_.text, b_));
    }
    const auto tree = io::JsonTree::parse(format_.text, "schema", {.max_depth = 64});
    return compile_schema(tree, io::JsonTree::kRoot, parts_);
  }

  const ToolRequest& request_;
  const AnswerFormat& format_;
  const OutputForm& form_;
  const conclave::text::Tokenizer& tokenizer_;
  Builder b_;
  JsonParts parts_;
};

}  // namespace

infer::grammar::ConstraintPtr constrain_answer(const ToolRequest& request,
                                               const AnswerFormat& format,
                                               const ReaderOptions& output,
                                               const conclave::text::Tokenizer& tokenizer,
                                               infer::grammar::TokensPtr tokens) {
  AnswerGrammar grammar(request, format, output.form, tokenizer);
  const RuleId root = grammar.root(output.thinking);
  return std::make_shared<infer::grammar::Constraint>(grammar.builder(), root, std::move(tokens));
}

}  // namespace conclave::serve

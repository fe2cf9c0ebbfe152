#include "serve/answer_format.h"

#include "base/error.h"
#include "io/json_tree.h"
#include "serve/api_error.h"
#include "serve/fields.h"

namespace conclave::serve {

using infer::grammar::ConstraintPtr;
using io::JsonTree;
using nlohmann::json;

namespace {

constexpr io::JsonLimits kLimits = {.max_bytes = 1u << 30, .max_depth = 64};

AnswerFormat schema_format(const json& format, const std::string& body) {
  const Fields fields(format, "response_format.");
  const json* const holder = fields.find("json_schema");
  if (holder == nullptr || !holder->is_object() || !holder->contains("schema")) {
    throw bad_request("'response_format.json_schema.schema' is missing",
                      "response_format.json_schema.schema");
  }
  Fields(*holder, "response_format.json_schema.").boolean("strict", false);
  const JsonTree tree = JsonTree::parse(body, "request body", kLimits);
  int node = JsonTree::kRoot;
  for (const char* key : {"response_format", "json_schema", "schema"}) node = tree.find(node, key);
  AnswerFormat result{AnswerFormat::Kind::kSchema, tree.dump(node)};
  if (result.text.size() > kMostSchemaBytes) {
    throw bad_request(fmt::format("the JSON schema has {} bytes, more than {}", result.text.size(),
                                  kMostSchemaBytes),
                      "response_format");
  }
  return result;
}

}  // namespace

AnswerFormat parse_answer_format(const json& request, const std::string& body) {
  const Fields fields(request);
  AnswerFormat result;
  if (const json* const format = fields.find("response_format")) {
    if (!format->is_object()) fields.wrong("response_format", *format, "an object");
    const std::string type = Fields(*format, "response_format.").string("type", "");
    if (type == "json_object") {
      result.kind = AnswerFormat::Kind::kJsonObject;
    } else if (type == "json_schema") {
      result = schema_format(*format, body);
    } else if (type != "text") {
      throw bad_request("'response_format.type': expected text, json_object or json_schema",
                        "response_format.type");
    }
  }
  const std::string grammar = fields.string("grammar", "");
  if (fields.find("grammar") == nullptr) return result;
  if (result.kind != AnswerFormat::Kind::kText) {
    throw bad_request("'grammar' and 'response_format' exclude one another", "grammar");
  }
  return {AnswerFormat::Kind::kGrammar, grammar};
}

infer::grammar::TokensPtr GrammarCache::tokens() {
  if (!tokens_) {
    tokens_ = std::make_shared<infer::grammar::TokenTable>(*model_.tokenizer, model_.end_ids,
                                                           model_.transformer->config().vocab_size);
  }
  return tokens_;
}

ConstraintPtr GrammarCache::get(const AnswerFormat& format) {
  using Kind = AnswerFormat::Kind;
  if (format.kind == Kind::kText) return nullptr;
  const std::string key = fmt::format("{}:{}", static_cast<int>(format.kind), format.text);
  return get(key, format.param(), [&](infer::grammar::TokensPtr tokens) {
    if (format.kind == Kind::kJsonObject) return constrain_to_json_object(std::move(tokens));
    if (format.kind == Kind::kGrammar) return constrain_to_grammar(format.text, std::move(tokens));
    const JsonTree tree = JsonTree::parse(format.text, "schema", kLimits);
    return constrain_to_schema(tree, JsonTree::kRoot, std::move(tokens));
  });
}

ConstraintPtr GrammarCache::get(const std::string& key, const char* param, const Make& make) {
  const auto known = places_.find(key);
  if (known != places_.end()) {
    order_.splice(order_.begin(), order_, known->second);
    return known->second->constraint;
  }
  ConstraintPtr constraint;
  try {
    constraint = make(tokens());
  } catch (const Error& error) {
    throw bad_request(error.what(), param);
  }
  order_.push_front({key, constraint});
  places_[key] = order_.begin();
  make_room();
  return constraint;
}

void GrammarCache::make_room() {
  std::int64_t bytes = 0;
  for (const Entry& entry : order_) bytes += entry.constraint->bytes();
  while (order_.size() > 1 && (order_.size() > limits_.grammars || bytes > limits_.bytes)) {
    bytes -= order_.back().constraint->bytes();
    places_.erase(order_.back().key);
    order_.pop_back();
  }
}

}  // namespace conclave::serve

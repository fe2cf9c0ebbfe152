// What an answer is held to: response_format and grammar of a request, and the compiled forms of
// the last ones.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>

#include "infer/grammar/compile.h"
#include "models/model_files.h"

namespace conclave::serve {

inline constexpr std::size_t kMostSchemaBytes = 256 * 1024;

struct AnswerFormat {
  enum class Kind : std::uint8_t { kText, kJsonObject, kSchema, kGrammar };
  Kind kind = Kind::kText;
  std::string text;  // the schema as it was sent, or the grammar
  const char* param() const { return kind == Kind::kGrammar ? "grammar" : "response_format"; }
};

// `body` is the text of the request: members of a schema keep their order. Throws ApiError.
AnswerFormat parse_answer_format(const nlohmann::json& request, const std::string& body);

struct GrammarLimits {
  std::size_t grammars = 64;
  std::int64_t bytes = std::int64_t{256} << 20;
};

// Compiled grammars of one model, the least recently used ones forgotten: in memory only, bounded
// by number and bytes. Used by one thread.
class GrammarCache {
 public:
  explicit GrammarCache(const models::LoadedModel& model, const GrammarLimits& limits = {})
      : model_(model), limits_(limits) {}

  // Null for plain text. Throws ApiError that says what is wrong with the schema or grammar.
  infer::grammar::ConstraintPtr get(const AnswerFormat& format);
  // By a key of the caller's, made where it is not there.
  using Make = std::function<infer::grammar::ConstraintPtr(infer::grammar::TokensPtr)>;
  infer::grammar::ConstraintPtr get(const std::string& key, const char* param, const Make& make);
  std::size_t size() const { return order_.size(); }

 private:
  struct Entry {
    std::string key;
    infer::grammar::ConstraintPtr constraint;
  };
  infer::grammar::TokensPtr tokens();
  void make_room();

  const models::LoadedModel& model_;
  GrammarLimits limits_;
  infer::grammar::TokensPtr tokens_;  // made at the first grammar
  std::list<Entry> order_;            // the last used one first
  std::unordered_map<std::string, std::list<Entry>::iterator> places_;
};

}  // namespace conclave::serve

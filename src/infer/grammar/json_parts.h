// The parts of JSON text as grammar: what a model may write for a string, a number, any value.
// White space is held short, so that no answer is filled with it: between the parts of objects and
// lists stands nothing, one space, or a line break and up to 20 spaces or tabs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>

#include "infer/grammar/builder.h"

namespace conclave::infer::grammar {

class JsonParts {
 public:
  explicit JsonParts(Builder& builder) : b_(builder) {}

  Builder& builder() { return b_; }
  ExprId space();
  // One character of a string's content: as it is, or escaped. Surrogates come in pairs.
  ExprId string_char();
  // The same of a set, where only what must be escaped is.
  ExprId string_char(const text::CodePoints& set);
  ExprId quoted(ExprId content) { return b_.seq({b_.bytes("\""), content, b_.bytes("\"")}); }
  ExprId string(int min, int max);  // by the number of characters; max -1: any
  // "name" without escapes that could be written otherwise, and a colon.
  ExprId member(std::string_view name, ExprId value);
  // Names other than those, unescaped.
  ExprId other_name(const std::vector<std::string>& names);

  ExprId any_value();
  ExprId any_object();
  ExprId any_array();
  ExprId number();
  ExprId integer();
  ExprId integer(std::int64_t low, std::int64_t high);  // low <= high
  // Integers of a range, and fractions strictly between two neighbours in floor..ceiling.
  ExprId number(std::int64_t low, std::int64_t high, std::int64_t floor, std::int64_t ceiling);

  // '[' items ']': `rest` follows the first item.
  ExprId list(ExprId first, ExprId rest, bool may_be_empty);
  // ", " and an item
  ExprId next(ExprId item) { return b_.seq({b_.bytes(","), space(), item}); }
  ExprId object(ExprId members, bool may_be_empty);

 private:
  ExprId digits(std::string_view low, std::string_view high);
  ExprId positive(std::uint64_t low, std::uint64_t high);
  ExprId shared(const char* name, ExprId (JsonParts::*make)());
  ExprId make_space();
  ExprId make_char();
  ExprId make_number();
  ExprId make_integer();
  void make_values();

  Builder& b_;
  std::map<std::string_view, RuleId> shared_;
  std::map<std::vector<std::pair<char32_t, char32_t>>, RuleId> char_sets_;
  RuleId value_ = -1, object_ = -1, array_ = -1;
};

}  // namespace conclave::infer::grammar

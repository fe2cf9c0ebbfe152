// How the files of filters hand theirs over, and what they share.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "text/jinja/runtime.h"
#include "text/jinja/value.h"

namespace conclave::text::jinja {

using Filter = Value (*)(Runtime& rt, const Value& input, const Args& args);
using FilterTable = std::unordered_map<std::string_view, Filter>;

void add_text_filters(FilterTable& table);      // filters_text.cc
void add_sequence_filters(FilterTable& table);  // filters_sequence.cc
void add_select_filters(FilterTable& table);    // filters_select.cc
void add_number_filters(FilterTable& table);    // filters_number.cc

// "a.b.0" as the filters' attribute parameter has it: item after item. None chooses the value
// itself.
class AttributePath {
 public:
  AttributePath(Runtime& rt, const Value& attribute);
  // `otherwise`, where it is not null, replaces what is undefined on the way.
  Value of(Runtime& rt, const Value& item, const Value* otherwise = nullptr) const;

 private:
  std::vector<Value> parts_;
};

// Strings in lower case; other values as they are.
Value ignore_case(Runtime& rt, const Value& value);
// str(value), or the string itself with its Markup.
Value soft_string(Runtime& rt, const Value& value);
Value make_iterator(Runtime& rt, std::vector<Value> items);

}  // namespace conclave::text::jinja

#include "infer/grammar/json_parts.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "io/json.h"
#include "text/utf8.h"

namespace conclave::infer::grammar {

namespace {

constexpr int kMostIndent = 20;
constexpr int kMostDigits = 16;  // beyond the first: what a double tells apart

const text::CodePoints kDigit = {{'0', '9'}}, kDigit19 = {{'1', '9'}};
const text::CodePoints kHex = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};

}  // namespace

ExprId JsonParts::shared(const char* name, ExprId (JsonParts::*make)()) {
  const auto known = shared_.find(name);
  if (known != shared_.end()) return b_.call(known->second);
  const RuleId rule = b_.add_rule(name);
  shared_[name] = rule;
  b_.define(rule, (this->*make)());
  return b_.call(rule);
}

ExprId JsonParts::make_space() {
  const ExprId indent = b_.repeat(b_.chars({{' ', ' '}, {'\t', '\t'}}), 0, kMostIndent);
  return b_.optional(b_.alt({b_.bytes(" "), b_.seq({b_.bytes("\n"), indent})}));
}
ExprId JsonParts::space() { return shared("space", &JsonParts::make_space); }

ExprId JsonParts::make_char() {
  const ExprId plain = b_.chars({{0x20, 0x21}, {0x23, 0x5b}, {0x5d, text::kLastCodePoint}});
  const auto set = [&](std::string_view of) {
    text::CodePoints chars;
    for (const char c : of) chars.push_back({static_cast<char32_t>(c), static_cast<char32_t>(c)});
    return b_.chars(std::move(chars));
  };
  const ExprId hex = b_.chars(kHex);
  const ExprId single = b_.alt({b_.seq({set("0123456789abcefABCEF"), hex, hex, hex}),
                                b_.seq({set("dD"), b_.chars({{'0', '7'}}), hex, hex})});
  const ExprId pair = b_.seq(
      {set("dD"), set("89abAB"), hex, hex, b_.bytes("\\u"), set("dD"), set("cdefCDEF"), hex, hex});
  const ExprId unicode = b_.seq({b_.bytes("u"), b_.alt({single, pair})});
  return b_.alt({plain, b_.seq({b_.bytes("\\"), b_.alt({set("\"\\/bfnrt"), unicode})})});
}
ExprId JsonParts::string_char() { return shared("char", &JsonParts::make_char); }

ExprId JsonParts::string_char(const text::CodePoints& set) {
  const text::CodePoints chars = text::normalized(set);
  std::vector<std::pair<char32_t, char32_t>> key;
  for (const text::CodeRange& r : chars) key.emplace_back(r.first, r.last);
  const auto [place, is_new] = char_sets_.try_emplace(std::move(key), -1);
  if (!is_new) return b_.call(place->second);
  const text::CodePoints unescaped = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, text::kLastCodePoint}};
  std::vector<ExprId> choices = {b_.chars(text::intersection(chars, unescaped))};
  for (char32_t c = 0; c <= '\\'; ++c) {
    if (!text::contains(chars, c) || text::contains(unescaped, c)) continue;
    std::string escaped;
    text::append_utf8(escaped, c);
    escaped = io::json_quote(escaped);
    choices.push_back(b_.bytes(std::string_view(escaped).substr(1, escaped.size() - 2)));
  }
  place->second = b_.add_rule("char set");
  b_.define(place->second, b_.alt(std::move(choices)));
  return b_.call(place->second);
}

ExprId JsonParts::string(int min, int max) { return quoted(b_.repeat(string_char(), min, max)); }

ExprId JsonParts::member(std::string_view name, ExprId value) {
  return b_.seq({b_.bytes(io::json_quote(name) + ":"), space(), value});
}

// A trie of the names: the ways that leave it, and those that end within it.
ExprId JsonParts::other_name(const std::vector<std::string>& names) {
  const text::CodePoints plain = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, text::kLastCodePoint}};
  const ExprId rest = b_.repeat(b_.chars(plain), 0, -1);
  struct Node {
    std::map<char32_t, std::size_t> next;
    bool taken = false;
  };
  std::vector<Node> nodes(1);
  for (const std::string& name : names) {
    std::size_t at = 0;
    for (std::size_t i = 0; i < name.size();) {
      const text::Utf8Char c = text::decode_utf8(name, i);
      i += c.size;
      const auto [place, is_new] = nodes[at].next.try_emplace(c.value, nodes.size());
      at = place->second;
      if (is_new) nodes.emplace_back();
    }
    nodes[at].taken = true;
  }
  std::vector<RuleId> rules;
  for (std::size_t i = 0; i < nodes.size(); ++i) rules.push_back(b_.add_rule("other name"));
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    text::CodePoints known;
    std::vector<ExprId> choices;
    for (const auto& [c, to] : nodes[i].next) {
      known.push_back({c, c});
      const text::CodePoints one = text::intersection(plain, text::CodePoints{{c, c}});
      if (!one.empty()) choices.push_back(b_.seq({b_.chars(one), b_.call(rules[to])}));
    }
    const text::CodePoints others =
        text::intersection(plain, text::complement(text::normalized(std::move(known))));
    choices.push_back(b_.seq({b_.chars(others), rest}));
    if (!nodes[i].taken) choices.push_back(b_.bytes(""));
    b_.define(rules[i], b_.alt(std::move(choices)));
  }
  return quoted(b_.call(rules[0]));
}

void JsonParts::make_values() {
  if (value_ >= 0) return;
  value_ = b_.add_rule("value");
  object_ = b_.add_rule("object");
  array_ = b_.add_rule("array");
  const ExprId value = b_.call(value_);
  const ExprId pair = b_.seq({string(0, -1), b_.bytes(":"), space(), value});
  b_.define(object_, object(b_.seq({pair, b_.repeat(next(pair), 0, -1)}), true));
  b_.define(array_, list(value, b_.repeat(next(value), 0, -1), true));
  b_.define(value_, b_.alt({b_.call(object_), b_.call(array_), string(0, -1), number(),
                            b_.bytes("true"), b_.bytes("false"), b_.bytes("null")}));
}
ExprId JsonParts::any_value() {
  make_values();
  return b_.call(value_);
}
ExprId JsonParts::any_object() {
  make_values();
  return b_.call(object_);
}
ExprId JsonParts::any_array() {
  make_values();
  return b_.call(array_);
}

ExprId JsonParts::list(ExprId first, ExprId rest, bool may_be_empty) {
  ExprId items = b_.seq({first, rest});
  if (may_be_empty)
    items = b_.optional(b_.seq({items, space()}));
  else
    items = b_.seq({items, space()});
  return b_.seq({b_.bytes("["), space(), items, b_.bytes("]")});
}

ExprId JsonParts::object(ExprId members, bool may_be_empty) {
  ExprId inner = b_.seq({members, space()});
  if (may_be_empty) inner = b_.optional(inner);
  return b_.seq({b_.bytes("{"), space(), inner, b_.bytes("}")});
}

ExprId JsonParts::make_integer() {
  const ExprId more = b_.repeat(b_.chars(kDigit), 0, kMostDigits);
  return b_.seq(
      {b_.optional(b_.bytes("-")), b_.alt({b_.bytes("0"), b_.seq({b_.chars(kDigit19), more})})});
}
ExprId JsonParts::integer() { return shared("integer", &JsonParts::make_integer); }

ExprId JsonParts::make_number() {
  const ExprId digit = b_.chars(kDigit);
  const ExprId fraction = b_.seq({b_.bytes("."), b_.repeat(digit, 1, kMostDigits)});
  // Two digits, so that no number is beyond what a double holds.
  const ExprId exponent =
      b_.seq({b_.chars({{'E', 'E'}, {'e', 'e'}}), b_.optional(b_.chars({{'+', '+'}, {'-', '-'}})),
              b_.repeat(digit, 1, 2)});
  return b_.seq({integer(), b_.optional(fraction), b_.optional(exponent)});
}
ExprId JsonParts::number() { return shared("number", &JsonParts::make_number); }

// Numbers between two of the same length, digit by digit.
ExprId JsonParts::digits(std::string_view low, std::string_view high) {
  const auto digit = [&](char a, char b) {
    return b_.chars({{static_cast<char32_t>(a), static_cast<char32_t>(b)}});
  };
  const auto n = static_cast<int>(low.size());
  std::vector<ExprId> choices, prefix;
  std::size_t i = 0;
  for (; i < low.size() && low[i] == high[i]; ++i) prefix.push_back(digit(low[i], low[i]));
  if (i < low.size()) {
    const auto rest = [&](std::size_t from) { return n - static_cast<int>(from) - 1; };
    const auto free = [&](int count) { return b_.repeat(digit('0', '9'), count, count); };
    if (low[i] + 1 < high[i]) {
      choices.push_back(b_.seq(
          {digit(static_cast<char>(low[i] + 1), static_cast<char>(high[i] - 1)), free(rest(i))}));
    }
    // Along the bounds: equal up to a place, then above the lower or below the upper one.
    std::vector<ExprId> at_low = {digit(low[i], low[i])}, at_high = {digit(high[i], high[i])};
    const auto branch = [&](const std::vector<ExprId>& head, ExprId middle, int count) {
      std::vector<ExprId> all = head;
      all.push_back(middle);
      all.push_back(free(count));
      choices.push_back(b_.seq(std::move(all)));
    };
    for (std::size_t j = i + 1; j < low.size(); ++j) {
      if (low[j] < '9') branch(at_low, digit(static_cast<char>(low[j] + 1), '9'), rest(j));
      if (high[j] > '0') branch(at_high, digit('0', static_cast<char>(high[j] - 1)), rest(j));
      at_low.push_back(digit(low[j], low[j]));
      at_high.push_back(digit(high[j], high[j]));
    }
    choices.push_back(b_.seq(std::move(at_low)));
    choices.push_back(b_.seq(std::move(at_high)));
    prefix.push_back(b_.alt(std::move(choices)));
  }
  return b_.seq(std::move(prefix));
}

ExprId JsonParts::positive(std::uint64_t low, std::uint64_t high) {
  std::vector<ExprId> choices;
  while (true) {
    const std::string from = std::to_string(low), all_nines(from.size(), '9');
    const std::string to = std::to_string(high);
    choices.push_back(digits(from, to.size() > from.size() ? all_nines : to));
    if (to.size() == from.size()) break;
    low = 1;
    for (std::size_t i = 0; i < from.size(); ++i) low *= 10;
  }
  return b_.alt(std::move(choices));
}

ExprId JsonParts::integer(std::int64_t low, std::int64_t high) {
  const auto magnitude = [](std::int64_t v) {
    return std::uint64_t{0} - static_cast<std::uint64_t>(v);
  };
  std::vector<ExprId> choices;
  if (high >= 0) {
    choices.push_back(positive(static_cast<std::uint64_t>(std::max<std::int64_t>(low, 0)),
                               static_cast<std::uint64_t>(high)));
  }
  if (low < 0) {
    choices.push_back(b_.seq(
        {b_.bytes("-"), positive(magnitude(std::min<std::int64_t>(high, -1)), magnitude(low))}));
  }
  return b_.alt(std::move(choices));
}

ExprId JsonParts::number(std::int64_t low, std::int64_t high, std::int64_t floor,
                         std::int64_t ceiling) {
  std::vector<ExprId> choices;
  if (low <= high) choices.push_back(integer(low, high));
  // The last digit is not 0: such a number is no integer.
  const ExprId fraction =
      b_.seq({b_.bytes("."), b_.repeat(b_.chars(kDigit), 0, kMostDigits - 1), b_.chars(kDigit19)});
  const std::int64_t from = std::max<std::int64_t>(floor, 0);
  if (from < ceiling) choices.push_back(b_.seq({integer(from, ceiling - 1), fraction}));
  const std::int64_t least = std::max<std::int64_t>(-ceiling, 0);
  if (least < -floor) {
    choices.push_back(b_.seq({b_.bytes("-"), integer(least, -floor - 1), fraction}));
  }
  return b_.alt(std::move(choices));
}

}  // namespace conclave::infer::grammar

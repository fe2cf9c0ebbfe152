#include "text/char_class.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/regex.h"
#include "text/unicode_recent.h"

namespace conclave::text {
namespace {

// Sets that a pattern may make us work out one code point at a time (some 20 ms each).
constexpr std::size_t kMaxEvaluatedProperties = 32;

// From 10.40 on, \p{Han} also holds characters that Han shares with other scripts.
#if PCRE2_MAJOR > 10 || (PCRE2_MAJOR == 10 && PCRE2_MINOR >= 40)
constexpr std::string_view kScriptPrefix = "sc:";
#else
constexpr std::string_view kScriptPrefix = "";
#endif

struct Name {
  std::string_view loose;  // lower case, without "_", "-" and spaces
  std::string_view items;  // general categories, separated by spaces
};

constexpr Name kCategoryNames[] = {
    {"l", "L"},
    {"letter", "L"},
    {"lu", "Lu"},
    {"uppercaseletter", "Lu"},
    {"ll", "Ll"},
    {"lowercaseletter", "Ll"},
    {"lt", "Lt"},
    {"titlecaseletter", "Lt"},
    {"lc", "Lu Ll Lt"},
    {"casedletter", "Lu Ll Lt"},
    {"lm", "Lm"},
    {"modifierletter", "Lm"},
    {"lo", "Lo"},
    {"otherletter", "Lo"},
    {"m", "M"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"mn", "Mn"},
    {"nonspacingmark", "Mn"},
    {"mc", "Mc"},
    {"spacingmark", "Mc"},
    {"me", "Me"},
    {"enclosingmark", "Me"},
    {"n", "N"},
    {"number", "N"},
    {"nd", "Nd"},
    {"decimalnumber", "Nd"},
    {"digit", "Nd"},
    {"nl", "Nl"},
    {"letternumber", "Nl"},
    {"no", "No"},
    {"othernumber", "No"},
    {"p", "P"},
    {"punctuation", "P"},
    {"punct", "P"},
    {"pc", "Pc"},
    {"connectorpunctuation", "Pc"},
    {"pd", "Pd"},
    {"dashpunctuation", "Pd"},
    {"ps", "Ps"},
    {"openpunctuation", "Ps"},
    {"pe", "Pe"},
    {"closepunctuation", "Pe"},
    {"pi", "Pi"},
    {"initialpunctuation", "Pi"},
    {"pf", "Pf"},
    {"finalpunctuation", "Pf"},
    {"po", "Po"},
    {"otherpunctuation", "Po"},
    {"s", "S"},
    {"symbol", "S"},
    {"sm", "Sm"},
    {"mathsymbol", "Sm"},
    {"sc", "Sc"},
    {"currencysymbol", "Sc"},
    {"sk", "Sk"},
    {"modifiersymbol", "Sk"},
    {"so", "So"},
    {"othersymbol", "So"},
    {"z", "Z"},
    {"separator", "Z"},
    {"zs", "Zs"},
    {"spaceseparator", "Zs"},
    {"zl", "Zl"},
    {"lineseparator", "Zl"},
    {"zp", "Zp"},
    {"paragraphseparator", "Zp"},
    {"cc", "Cc"},
    {"control", "Cc"},
    {"cntrl", "Cc"},
    {"cf", "Cf"},
    {"format", "Cf"},
    {"co", "Co"},
    {"privateuse", "Co"},
};

std::string loose_name(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == '_' || c == '-' || c == ' ') continue;
    out.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
  }
  return out;
}

// \p{..} for each category, and what Unicode added to it.
std::string category_items(std::string_view categories) {
  std::string out;
  while (!categories.empty()) {
    const std::string_view one = categories.substr(0, categories.find(' '));
    out += fmt::format("\\p{{{}}}", one);
    append_ranges(out, recent_in_category(one));
    categories.remove_prefix(std::min(categories.size(), one.size() + 1));
  }
  return out;
}

ClassTerm property(std::string items, bool negated) {
  ClassTerm term;
  term.kind = ClassTerm::Kind::kProperty;
  term.property = std::move(items);
  term.negated = negated;
  return term;
}

ClassTerm range_term(CodePoints ranges, bool negated) {
  ClassTerm term;
  term.ranges = negated ? complement(normalized(std::move(ranges))) : std::move(ranges);
  return term;
}

// Oniguruma's \w: Alphabetic, marks, decimal digits, connectors. The symbols are the letters in
// circles and squares, which are Alphabetic; of the numbers it has Latin-1's small and broken ones.
std::string word_items() {
  return category_items("L M Nd Nl Pc") +
         "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
         "\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}";
}

std::string alpha_items() { return "\\p{Alphabetic}" + category_items("L Nl"); }

}  // namespace

void append_ranges(std::string& out, const CodePoints& ranges) {
  for (const CodeRange& range : ranges) {
    out += fmt::format("\\x{{{:x}}}", static_cast<std::uint32_t>(range.first));
    if (range.last != range.first) {
      out += fmt::format("-\\x{{{:x}}}", static_cast<std::uint32_t>(range.last));
    }
  }
}

ClassTerm property_term(std::string_view name, bool negated) {
  if (!name.empty() && name.front() == '^') {
    name.remove_prefix(1);
    negated = !negated;
  }
  const std::string loose = loose_name(name);
  for (const Name& known : kCategoryNames) {
    if (loose == known.loose) return property(category_items(known.items), negated);
  }
  const std::string all_but_other = category_items("L M N P S Z");
  if (loose == "c" || loose == "other") return property(all_but_other, !negated);
  if (loose == "cn" || loose == "unassigned") {
    return property(all_but_other + category_items("Cc Cf Co") + "\\p{Cs}", !negated);
  }
  if (loose == "any") return range_term({{0, kLastCodePoint}}, negated);
  if (loose == "ascii") return range_term({{0, 0x7f}}, negated);
  if (loose == "space" || loose == "whitespace") return escape_term(negated ? 'S' : 's');
  if (loose == "word") return escape_term(negated ? 'W' : 'w');
  if (loose == "xdigit") return escape_term(negated ? 'H' : 'h');
  if (loose == "alpha" || loose == "alphabetic") return property(alpha_items(), negated);
  if (loose == "alnum") return property(alpha_items() + category_items("Nd"), negated);
  if (loose == "upper") return property("\\p{Uppercase}" + category_items("Lu"), negated);
  if (loose == "lower") return property("\\p{Lowercase}" + category_items("Ll"), negated);
  const bool plausible = !loose.empty() && std::all_of(loose.begin(), loose.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  });
  if (!plausible || loose.size() > 40) {
    fail(ErrorKind::kBadFile, "pattern: '\\p{{{}}}' names no property of characters", name);
  }
  std::string script(name);
  if (script[0] >= 'a' && script[0] <= 'z') script[0] = static_cast<char>(script[0] - 32);
  // Boolean properties go by their name alone; whatever is neither is refused on compiling.
  const bool boolean = loose.starts_with("emoji") || loose == "extendedpictographic" ||
                       loose == "ideographic" || loose == "uppercase" || loose == "lowercase" ||
                       loose == "math" || loose == "idstart" || loose == "idcontinue";
  std::string items = fmt::format("\\p{{{}{}}}", boolean ? "" : kScriptPrefix, script);
  append_ranges(items, recent_in_script(script));
  return property(std::move(items), negated);
}

ClassTerm escape_term(char letter) {
  switch (letter) {
    case 's':
    case 'S': {
      const auto space = white_space();
      return range_term({space.begin(), space.end()}, letter == 'S');
    }
    case 'd':
    case 'D':
      return property(category_items("Nd"), letter == 'D');
    case 'w':
    case 'W':
      return property(word_items(), letter == 'W');
    case 'h':
    case 'H':
      return range_term({{'0', '9'}, {'A', 'F'}, {'a', 'f'}}, letter == 'H');
    default:
      CONCLAVE_CHECK(false, "no class for \\{}", letter);
      return {};
  }
}

ClassTerm posix_term(std::string_view name, bool negated) {
  if (name == "punct") return property(category_items("P S"), negated);
  if (name == "blank") return property("\\x{9}\\p{Zs}", negated);
  for (const std::string_view known :
       {"alpha", "alnum", "upper", "lower", "digit", "space", "xdigit", "word", "cntrl", "ascii"}) {
    if (name == known) return property_term(name, negated);
  }
  fail(ErrorKind::kUnsupported, "pattern: class [:{}:] is not supported", name);
}

std::string ClassWriter::write(const ClassTerm& term) {
  std::string items;
  if (term.kind == ClassTerm::Kind::kRanges) {
    append_ranges(items, term.ranges);
  } else {
    items = term.property;
  }
  return fmt::format("[{}{}]", term.negated ? "^" : "", items);
}

std::string ClassWriter::write(const std::vector<CharClass>& classes, int index) {
  const CharClass& what = classes[static_cast<std::size_t>(index)];
  std::string items;
  if (what.operands.size() == 1 && append_items(classes, what, items) && !items.empty()) {
    return fmt::format("[{}{}]", what.negated ? "^" : "", items);
  }
  const auto& terms = what.operands[0];
  if (what.operands.size() == 1 && terms.size() == 1 &&
      terms[0].kind == ClassTerm::Kind::kProperty && terms[0].negated) {
    return fmt::format("[{}{}]", what.negated ? "" : "^", terms[0].property);
  }
  const CodePoints members = evaluate(classes, index);
  if (members.empty()) return "(?!)";
  append_ranges(items, members);
  return "[" + items + "]";
}

// Spells a union if it is one that PCRE2 has: ranges, properties and such classes inside.
bool ClassWriter::append_items(const std::vector<CharClass>& classes, const CharClass& what,
                               std::string& out) {
  std::string items;
  for (const ClassTerm& term : what.operands[0]) {
    if (term.kind == ClassTerm::Kind::kRanges) {
      append_ranges(items, term.ranges);
    } else if (term.kind == ClassTerm::Kind::kProperty) {
      if (term.negated) return false;
      items += term.property;
    } else {
      const CharClass& inner = classes[static_cast<std::size_t>(term.nested)];
      if (inner.negated || inner.operands.size() != 1) return false;
      if (!append_items(classes, inner, items)) return false;
    }
  }
  out += items;
  return true;
}

CodePoints ClassWriter::evaluate(const std::vector<CharClass>& classes, int index) {
  const CharClass& what = classes[static_cast<std::size_t>(index)];
  CodePoints result{{0, kLastCodePoint}};
  for (const auto& operand : what.operands) {
    CodePoints sum;
    for (const ClassTerm& term : operand) {
      const CodePoints members = evaluate(classes, term);
      sum.insert(sum.end(), members.begin(), members.end());
    }
    result = intersection(result, normalized(std::move(sum)));
  }
  return what.negated ? complement(result) : result;
}

CodePoints ClassWriter::evaluate(const std::vector<CharClass>& classes, const ClassTerm& term) {
  if (term.kind == ClassTerm::Kind::kRanges) return normalized(term.ranges);
  if (term.kind == ClassTerm::Kind::kClass) return evaluate(classes, term.nested);
  const CodePoints& members = property_members(term.property);
  return term.negated ? complement(members) : members;
}

const CodePoints& ClassWriter::property_members(const std::string& items) {
  const auto found = members_.find(items);
  if (found != members_.end()) return found->second;
  if (members_.size() == kMaxEvaluatedProperties) {
    fail(ErrorKind::kUnsupported, "pattern: more than {} different properties in nested classes",
         kMaxEvaluatedProperties);
  }
  return members_[items] = class_members(items);
}

}  // namespace conclave::text

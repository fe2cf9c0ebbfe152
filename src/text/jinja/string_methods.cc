// The methods of Python's str.
#include "text/jinja/string_methods.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "text/jinja/arguments.h"
#include "text/jinja/formatting.h"
#include "text/jinja/operators.h"
#include "text/jinja/string_ops.h"
#include "text/jinja/unicode.h"
#include "text/utf8.h"

namespace conclave::text::jinja {
namespace {

using Method = Value (*)(Runtime& rt, const Value& self, std::string_view name, Args& args);

Value string_like(const Value& self, MarkedText text) {
  return Value::string(std::move(text), self.str().markup);
}

Value strip_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {"chars"});
  const Side side = name == "strip" ? Side::kBoth : name == "lstrip" ? Side::kLeft : Side::kRight;
  std::optional<std::string_view> chars;
  if (a.set(0)) chars = a.text(0).view();
  return string_like(self, strip(rt, self.text(), side, chars));
}

Value texts(Runtime& rt, const Value& self, std::vector<MarkedText> parts) {
  std::vector<Value> items;
  items.reserve(parts.size());
  for (MarkedText& part : parts) items.push_back(string_like(self, std::move(part)));
  return rt.make_list(std::move(items));
}

Value split_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {"sep", "maxsplit"});
  std::optional<std::string_view> separator;
  if (a.set(0)) separator = a.text(0).view();
  if (separator && separator->empty()) rt.error("empty separator");
  return texts(rt, self, split(rt, self.text(), separator, a.index(1, -1), name == "rsplit"));
}

Value splitlines_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {"keepends"});
  return texts(rt, self, split_lines(rt, self.text(), a.flag(0, false)));
}

Value partition_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {"sep"}, 1);
  const std::string_view separator = a.text(0).view();
  if (separator.empty()) rt.error("empty separator");
  rt.charge(self.bytes().size());
  const bool reverse = name == "rpartition";
  const std::size_t at = reverse ? self.bytes().rfind(separator) : self.bytes().find(separator);
  const MarkedText& text = self.text();
  const Value empty = Value::string("", Origin::kTemplate);
  if (at == std::string_view::npos) {
    return rt.make_tuple(reverse ? std::vector<Value>{empty, empty, self}
                                 : std::vector<Value>{self, empty, empty});
  }
  const std::size_t end = at + separator.size();
  return rt.make_tuple({Value::string(text.slice(0, at)), Value::string(text.slice(at, end)),
                        Value::string(text.slice(end, text.size()))});
}

// The part of a string that start and end (characters, as slices have them) choose. Nothing where
// start lies beyond the end, where not even an empty text is found.
struct Window {
  std::size_t first = 0;           // characters before it
  std::size_t begin = 0, end = 0;  // bytes
};

std::optional<Window> window(Runtime& rt, const Value& self, const Arguments& a) {
  const auto size = static_cast<std::int64_t>(self.str().length);
  const auto place = [&](std::size_t i, std::int64_t otherwise) {
    std::int64_t at = a.set(i) ? as_index(rt, a[i]) : otherwise;
    if (at < 0) at = std::max<std::int64_t>(0, at + size);
    return at;
  };
  const std::int64_t start = place(1, 0);
  const std::int64_t end = std::min(size, place(2, size));
  if (start > end) return std::nullopt;
  if (start == 0 && end == size) return Window{0, 0, self.bytes().size()};
  const CharOffsets offsets(rt, self.str());
  return Window{static_cast<std::size_t>(start), offsets[static_cast<std::size_t>(start)],
                offsets[static_cast<std::size_t>(end)]};
}

Value affix_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {"prefix", "start", "end"}, 1);
  const auto part = window(rt, self, a);
  const auto fits = [&](const Value& value) {
    if (!value.is_string()) {
      rt.error("{} first arg must be str or a tuple of str, not {}", name, type_name(value));
    }
    if (!part) return false;
    const std::string_view text = self.bytes().substr(part->begin, part->end - part->begin);
    return name == "startswith" ? text.starts_with(value.bytes()) : text.ends_with(value.bytes());
  };
  if (a[0].is_undefined()) undefined_error(rt, a[0]);
  if (!a[0].is(Kind::kTuple)) return Value::boolean(fits(a[0]));
  for (const Value& item : a[0].items()) {
    rt.step();
    if (fits(item)) return Value::boolean(true);
  }
  return Value::boolean(false);
}

Value find_method_of_string(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {"sub", "start", "end"}, 1);
  const std::string_view what = a.text(0).view();
  rt.step(self.bytes().size() / 32);
  const auto part = window(rt, self, a);
  std::size_t at = std::string_view::npos;
  if (part) {
    const std::string_view text = self.bytes().substr(part->begin, part->end - part->begin);
    at = name[0] == 'r' ? text.rfind(what) : text.find(what);
    if (at != text.npos) at = part->first + count_chars(text.substr(0, at));
  }
  if (at == std::string_view::npos) {
    if (name.ends_with("index")) rt.error("substring not found");
    return Value::integer(-1);
  }
  return Value::integer(static_cast<std::int64_t>(at));
}

Value count_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {"sub", "start", "end"}, 1);
  const std::string_view what = a.text(0).view();
  rt.step(self.bytes().size() / 32);
  const auto part = window(rt, self, a);
  if (!part) return Value::integer(0);
  const std::string_view text = self.bytes().substr(part->begin, part->end - part->begin);
  std::int64_t count = 0;
  if (what.empty()) return Value::integer(static_cast<std::int64_t>(count_chars(text)) + 1);
  for (std::size_t at = 0; (at = text.find(what, at)) != text.npos; at += what.size()) ++count;
  return Value::integer(count);
}

Value replace_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {"old", "new", "count"}, 2);
  return string_like(self, replace(rt, self.text(), a.text(0).view(), a.text(1), a.index(2, -1)));
}

Value remove_affix_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {"prefix"}, 1);
  const std::string_view affix = a.text(0).view();
  const MarkedText& text = self.text();
  rt.charge(text.size());
  if (name == "removeprefix") {
    if (!text.view().starts_with(affix)) return self;
    return string_like(self, text.slice(affix.size(), text.size()));
  }
  if (affix.empty() || !text.view().ends_with(affix)) return self;
  return string_like(self, text.slice(0, text.size() - affix.size()));
}

Value join_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {"iterable"}, 1);
  if (!is_iterable(a[0])) rt.error("can only join an iterable");
  std::vector<MarkedText> parts;
  for (const Value& item : iterate(rt, a[0])) {
    if (!item.is_string()) {
      rt.error("sequence item {}: expected str instance, {} found", parts.size(), type_name(item));
    }
    parts.push_back(item.text());
  }
  return string_like(self, join(rt, self.text(), parts));
}

Value case_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {});
  const MarkedText& text = self.text();
  if (name == "upper") return string_like(self, map_case(rt, text, CaseMapping::kUpper));
  if (name == "lower") return string_like(self, map_case(rt, text, CaseMapping::kLower));
  if (name == "casefold") return string_like(self, map_case(rt, text, CaseMapping::kFold));
  if (name == "capitalize") return string_like(self, capitalize(rt, text));
  if (name == "title") return string_like(self, title(rt, text));
  return string_like(self, swap_case(rt, text));
}

Value pad_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {"width", "fillchar"}, 1);
  MarkedText fill(" ", Origin::kTemplate);
  if (a.has(1)) {
    fill = a.text(1);
    if (count_chars(fill.view()) != 1) {
      rt.error("The fill character must be exactly one character long");
    }
  }
  const Align align = name == "ljust"   ? Align::kLeft
                      : name == "rjust" ? Align::kRight
                                        : Align::kCenter;
  return string_like(self, pad(rt, self.text(), align, a.index(0, 0), fill));
}

Value zfill_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {"width"}, 1);
  const MarkedText& text = self.text();
  const bool sign = text.view().starts_with('+') || text.view().starts_with('-');
  MarkedText out = text.slice(0, sign ? 1 : 0);
  out.append(pad(rt, text.slice(sign ? 1 : 0, text.size()), Align::kRight, a.index(0, 0) - sign,
                 MarkedText("0", Origin::kTemplate)));
  return string_like(self, std::move(out));
}

Value expandtabs_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {"tabsize"});
  const std::int64_t size = a.index(0, 8);
  const std::string_view bytes = self.bytes();
  MarkedText out;
  std::int64_t column = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == '\t') {
      const std::int64_t fill = size > 0 ? size - column % size : 0;
      rt.charge(static_cast<std::uint64_t>(fill));
      rt.step(static_cast<std::uint64_t>(fill) / 16);
      out.append(std::string(static_cast<std::size_t>(fill), ' '), self.text().origin_at(i));
      column += fill;
      continue;
    }
    out.append(self.text(), i, i + 1);
    if (bytes[i] == '\n' || bytes[i] == '\r') {
      column = 0;
    } else if ((bytes[i] & 0xc0) != 0x80) {
      ++column;
    }
  }
  rt.charge(bytes.size());
  return string_like(self, std::move(out));
}

// All characters are `what`, and there is one.
bool all_chars(std::string_view text, bool (*what)(char32_t)) {
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char c = decode_utf8(text, i);
    if (!what(c.value)) return false;
    i += c.size;
  }
  return !text.empty();
}

bool all_cased(std::string_view text, bool (*what)(char32_t)) {
  bool found = false;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char c = decode_utf8(text, i);
    if (what(c.value)) {
      found = true;
    } else if (is_cased(c.value)) {
      return false;
    }
    i += c.size;
  }
  return found;
}

bool is_title_text(std::string_view text) {
  bool found = false;
  bool inside = false;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char c = decode_utf8(text, i);
    i += c.size;
    const bool begins = is_upper(c.value) || is_title(c.value);
    if (begins ? inside : is_lower(c.value) && !inside) return false;
    inside = is_cased(c.value);
    found = found || inside;
  }
  return found;
}

bool is_alnum(char32_t c) { return is_alpha(c) || is_numeric(c); }

Value is_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  const Arguments a(rt, name, args, {});
  const std::string_view text = self.bytes();
  rt.step(text.size() / 16);
  const auto answer = [&]() -> bool {
    if (name == "isdigit") return all_chars(text, is_digit);
    if (name == "isdecimal") return all_chars(text, is_decimal);
    if (name == "isnumeric") return all_chars(text, is_numeric);
    if (name == "isalpha") return all_chars(text, is_alpha);
    if (name == "isalnum") return all_chars(text, is_alnum);
    if (name == "isspace") return all_chars(text, is_space);
    if (name == "isupper") return all_cased(text, is_upper);
    if (name == "islower") return all_cased(text, is_lower);
    if (name == "istitle") return is_title_text(text);
    if (name == "isidentifier") return is_identifier(text);
    if (name == "isprintable") return text.empty() || all_chars(text, is_printable);
    return self.str().ascii();  // isascii
  };
  return Value::boolean(answer());
}

Value format_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  if (name == "format") return format_braces(rt, self, args);
  const Arguments a(rt, name, args, {"mapping"}, 1);
  if (!a[0].is(Kind::kDict)) rt.error("format_map() argument must be a mapping");
  Args named;
  for (const auto& [key, value] : a[0].dict().entries) {
    if (key.is_string()) named.named.emplace_back(key.bytes(), value);
  }
  return format_braces(rt, self, named);
}

Value unsupported_method(Runtime& rt, const Value&, std::string_view name, Args&) {
  rt.unsupported("str.{} is not supported", name);
}

const std::unordered_map<std::string_view, Method>& methods() {
  static const std::unordered_map<std::string_view, Method> table = {
      {"strip", strip_method},
      {"lstrip", strip_method},
      {"rstrip", strip_method},
      {"split", split_method},
      {"rsplit", split_method},
      {"splitlines", splitlines_method},
      {"partition", partition_method},
      {"rpartition", partition_method},
      {"startswith", affix_method},
      {"endswith", affix_method},
      {"find", find_method_of_string},
      {"rfind", find_method_of_string},
      {"index", find_method_of_string},
      {"rindex", find_method_of_string},
      {"count", count_method},
      {"replace", replace_method},
      {"removeprefix", remove_affix_method},
      {"removesuffix", remove_affix_method},
      {"join", join_method},
      {"upper", case_method},
      {"lower", case_method},
      {"casefold", case_method},
      {"capitalize", case_method},
      {"title", case_method},
      {"swapcase", case_method},
      {"center", pad_method},
      {"ljust", pad_method},
      {"rjust", pad_method},
      {"zfill", zfill_method},
      {"expandtabs", expandtabs_method},
      {"isdigit", is_method},
      {"isdecimal", is_method},
      {"isnumeric", is_method},
      {"isalpha", is_method},
      {"isalnum", is_method},
      {"isspace", is_method},
      {"isupper", is_method},
      {"islower", is_method},
      {"istitle", is_method},
      {"isidentifier", is_method},
      {"isprintable", is_method},
      {"isascii", is_method},
      {"format", format_method},
      {"format_map", format_method},
      {"encode", unsupported_method},
      {"translate", unsupported_method},
      {"maketrans", unsupported_method},
  };
  return table;
}

}  // namespace

bool has_string_method(std::string_view name) { return methods().contains(name); }

Value call_string_method(Runtime& rt, const Value& self, std::string_view name, Args& args) {
  Value out = methods().at(name)(rt, self, name, args);
  if (out.is_string()) rt.charge(64);
  return out;
}

}  // namespace conclave::text::jinja

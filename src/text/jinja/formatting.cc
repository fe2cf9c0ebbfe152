#include "text/jinja/formatting.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "text/jinja/number_format.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/string_ops.h"
#include "text/utf8.h"

namespace conclave::text::jinja {
namespace {

// The first `count` characters.
MarkedText first_chars(const MarkedText& text, std::int64_t count) {
  std::size_t end = 0;
  for (; count > 0 && end < text.size(); --count) end += decode_utf8(text.view(), end).size;
  return text.slice(0, end);
}

// One conversion of the % operator after another.
class PercentFormatter {
 public:
  PercentFormatter(Runtime& rt, const Value& text, const Value& values)
      : rt_(rt), text_(text.text()), bytes_(text_.view()), values_(values) {
    if (values.is(Kind::kTuple)) {
      left_ = values.items().size();
    } else {
      left_ = 1;
    }
  }

  MarkedText run() {
    while (at_ < bytes_.size()) {
      const std::size_t percent = std::min(bytes_.find('%', at_), bytes_.size());
      rt_.charge(percent - at_);
      rt_.step();
      out_.append(text_, at_, percent);
      at_ = percent + 1;
      if (percent < bytes_.size()) conversion(percent);
    }
    const bool mapping = values_.is(Kind::kDict) || values_.is(Kind::kList) ||
                         values_.is(Kind::kUndefined) || values_.is(Kind::kRange);
    if (left_ > 0 && !mapping) rt_.error("not all arguments converted during string formatting");
    return std::move(out_);
  }

 private:
  Value take() {
    if (left_ == 0) rt_.error("not enough arguments for format string");
    --left_;
    return values_.is(Kind::kTuple) ? values_.items()[next_++] : values_;
  }

  char here() {
    if (at_ >= bytes_.size()) rt_.error("incomplete format");
    return bytes_[at_];
  }

  std::int64_t number() {
    if (here() == '*') {
      ++at_;
      const Value value = take();
      if (!value.is_integer()) rt_.error("* wants int");
      return as_index(rt_, value);
    }
    std::int64_t out = 0;
    for (; here() >= '0' && here() <= '9'; ++at_) {
      out = out * 10 + (bytes_[at_] - '0');
      if (out > INT32_MAX) rt_.error("width too big");
    }
    return out;
  }

  std::optional<Value> keyed() {
    if (here() != '(') return std::nullopt;
    if (!values_.is(Kind::kDict)) rt_.error("format requires a mapping");
    const std::size_t begin = ++at_;
    for (int depth = 1; depth > 0; ++at_) depth += here() == '(' ? 1 : here() == ')' ? -1 : 0;
    const std::string_view key = bytes_.substr(begin, at_ - begin - 1);
    const Value* const found = values_.dict().find(key);
    if (found == nullptr) rt_.error("KeyError: '{}'", key);
    left_ = 0;
    return *found;
  }

  void conversion(std::size_t percent) {
    std::optional<Value> value = keyed();
    FormatSpec spec;
    for (;; ++at_) {
      const char c = here();
      if (c == '-') {
        spec.align = '<';
      } else if (c == '0') {
        zero_ = true;
      } else if (c == '+' || (c == ' ' && spec.sign != '+')) {
        spec.sign = c;
      } else if (c == '#') {
        spec.alternate = true;
      } else if (c != ' ') {
        break;
      }
    }
    spec.width = number();
    if (spec.width < 0) {
      spec.align = '<';
      spec.width = -spec.width;
    }
    if (here() == '.') {
      ++at_;
      spec.precision = std::max<std::int64_t>(0, number());
    }
    while (here() == 'h' || here() == 'l' || here() == 'L') ++at_;
    spec.type = bytes_[at_++];
    if (spec.type == '%') {
      out_.append(text_, percent, percent + 1);
    } else {
      if (!value) value = take();
      convert(spec, *value);
    }
    zero_ = false;
  }

  void convert(FormatSpec spec, const Value& value) {
    switch (spec.type) {
      case 's':
      case 'r':
      case 'a': {
        MarkedText text = spec.type == 's' ? to_text(rt_, value) : to_repr(rt_, value);
        if (spec.precision >= 0) text = first_chars(text, spec.precision);
        if (spec.align == '\0') spec.align = '>';
        return out_.append(format_width(rt_, spec, text, false));
      }
      case 'c':
        return character(spec, value);
      case 'd':
      case 'i':
      case 'u':
      case 'o':
      case 'x':
      case 'X':
        return whole(spec, value);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        return real(spec, value);
      default:
        rt_.error("unsupported format character '{}'", spec.type);
    }
  }

  void character(FormatSpec spec, const Value& value) {
    MarkedText text;
    if (value.is_string() && value.str().length == 1) {
      text = value.text();
    } else if (value.is_integer()) {
      const std::int64_t code = as_index(rt_, value);
      if (code < 0 || code > 0x10ffff) rt_.error("%c arg not in range(0x110000)");
      if (code >= 0xd800 && code < 0xe000) rt_.unsupported("half of a surrogate pair");
      std::string bytes;
      append_utf8(bytes, static_cast<char32_t>(code));
      text = MarkedText(bytes, Origin::kTemplate);
    } else {
      rt_.error("%c requires int or char");
    }
    if (spec.align == '\0') spec.align = '>';
    out_.append(format_width(rt_, spec, text, false));
  }

  void whole(FormatSpec spec, const Value& given) {
    Value value = given;
    if (value.is_undefined()) undefined_error(rt_, value);
    const bool decimal = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
    if (decimal && value.is(Kind::kFloat)) {
      if (!std::isfinite(value.real())) rt_.error("cannot convert float to integer");
      value = Value::integer(BigInt::from_double(value.real()));
    }
    if (!value.is_integer()) {
      rt_.error("%{} format: {} is required, not {}", spec.type,
                decimal ? "a real number" : "an integer", type_name(value));
    }
    if (decimal) spec.type = 'd';
    std::string digits = format_digits(rt_, spec, value);
    if (spec.precision >= 0) {
      const std::size_t sign = digits[0] == '-' || digits[0] == '+' || digits[0] == ' ' ? 1 : 0;
      const std::size_t prefix = sign + (spec.alternate && !decimal ? 2 : 0);
      const std::size_t have = digits.size() - prefix;
      const auto want = static_cast<std::size_t>(spec.precision);
      if (want > have) {
        rt_.charge(want);
        digits.insert(prefix, std::string(want - have, '0'));
      }
    }
    put_digits(spec, std::move(digits));
  }

  void real(const FormatSpec& spec, const Value& value) {
    if (value.is_undefined()) undefined_error(rt_, value);
    if (!value.is_number()) rt_.error("must be real number, not {}", type_name(value));
    put_digits(spec, format_digits(rt_, spec, Value::real(as_double(rt_, value))));
  }

  void put_digits(FormatSpec spec, std::string digits) {
    if (spec.align == '\0' && zero_) {
      spec.align = '=';
      spec.fill = "0";
    }
    out_.append(format_width(rt_, spec, MarkedText(std::move(digits), Origin::kTemplate), true));
  }

  Runtime& rt_;
  const MarkedText& text_;
  std::string_view bytes_;
  const Value& values_;
  std::size_t left_ = 0, next_ = 0, at_ = 0;
  bool zero_ = false;
  MarkedText out_;
};

// str.format: fields in braces.
class BraceFormatter {
 public:
  BraceFormatter(Runtime& rt, const Args& args) : rt_(rt), args_(args) {}

  MarkedText run(const MarkedText& text, int depth) {
    if (depth < 0) rt_.error("Max string recursion exceeded");
    const std::string_view bytes = text.view();
    MarkedText out;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t brace = std::min(bytes.find_first_of("{}", at), bytes.size());
      rt_.charge(brace - at);
      rt_.step();
      out.append(text, at, brace);
      if (brace == bytes.size()) break;
      if (brace + 1 < bytes.size() && bytes[brace + 1] == bytes[brace]) {
        out.append(text, brace, brace + 1);
        at = brace + 2;
        continue;
      }
      if (bytes[brace] == '}') rt_.error("Single '}}' encountered in format string");
      if (brace + 1 == bytes.size()) rt_.error("Single '{{' encountered in format string");
      const std::size_t end = field_end(bytes, brace + 1);
      out.append(field(text.slice(brace + 1, end), depth));
      at = end + 1;
    }
    return out;
  }

 private:
  std::size_t field_end(std::string_view bytes, std::size_t at) {
    bool in_brackets = false;
    for (int depth = 1; at < bytes.size(); ++at) {
      if (bytes[at] == '[') in_brackets = true;
      if (bytes[at] == ']') in_brackets = false;
      if (in_brackets) continue;
      if (bytes[at] == '{') ++depth;
      if (bytes[at] == '}' && --depth == 0) return at;
    }
    rt_.error("expected '}}' before end of string");
  }

  MarkedText field(const MarkedText& inner, int depth) {
    const std::string_view bytes = inner.view();
    std::size_t name_end = 0;
    bool in_brackets = false;
    for (; name_end < bytes.size(); ++name_end) {
      const char c = bytes[name_end];
      if (c == '[') in_brackets = true;
      if (c == ']') in_brackets = false;
      if (!in_brackets && (c == ':' || c == '!')) break;
      if (!in_brackets && c == '{') rt_.error("unexpected '{{' in field name");
    }
    Value value = lookup(bytes.substr(0, name_end));
    std::size_t at = name_end;
    char conversion = '\0';
    if (at < bytes.size() && bytes[at] == '!') {
      if (at + 1 >= bytes.size()) rt_.error("end of string while looking for conversion specifier");
      conversion = bytes[at + 1];
      at += 2;
      if (at < bytes.size() && bytes[at] != ':') {
        rt_.error("expected ':' after conversion specifier");
      }
    }
    if (conversion == 'r' || conversion == 'a') {
      value = rt_.make_string(to_repr(rt_, value));
    } else if (conversion == 's') {
      value = rt_.make_string(to_text(rt_, value));
    } else if (conversion != '\0') {
      rt_.error("Unknown conversion specifier '{}'", conversion);
    }
    const MarkedText spec =
        at < bytes.size() ? run(inner.slice(at + 1, inner.size()), depth - 1) : MarkedText();
    return format_value(rt_, value, spec.view());
  }

  Value lookup(std::string_view name) {
    const std::size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = first(name.substr(0, end));
    for (std::size_t at = end; at < name.size();) {
      if (name[at] == '.') {
        const std::size_t stop = std::min(name.find_first_of(".[", at + 1), name.size());
        if (stop == at + 1) rt_.error("Empty attribute in format string");
        value = get_attribute(rt_, value, name.substr(at + 1, stop - at - 1));
        at = stop;
        continue;
      }
      if (name[at] != '[') rt_.error("Only '.' or '[' may follow ']' in format field specifier");
      const std::size_t stop = name.find(']', at);
      if (stop == std::string_view::npos) rt_.error("Missing ']' in format string");
      const std::string_view key = name.substr(at + 1, stop - at - 1);
      if (key.empty()) rt_.error("Empty attribute in format string");
      value = get_item(rt_, value, key_value(key));
      at = stop + 1;
    }
    return value;
  }

  static bool is_number(std::string_view text) {
    return !text.empty() && text.size() < 10 &&
           text.find_first_not_of("0123456789") == std::string_view::npos;
  }

  static Value key_value(std::string_view key) {
    return is_number(key) ? Value::integer(std::stoll(std::string(key)))
                          : Value::string(key, Origin::kTemplate);
  }

  Value first(std::string_view name) {
    if (name.empty() || is_number(name)) {
      if (name.empty() ? manual_ : automatic_ > 0) {
        rt_.error("cannot switch between automatic and manual field numbering");
      }
      manual_ = manual_ || !name.empty();
      const auto i =
          name.empty() ? automatic_++ : static_cast<std::size_t>(std::stoll(std::string(name)));
      if (i >= args_.positional.size()) {
        rt_.error("Replacement index {} out of range for positional args tuple", i);
      }
      return args_.positional[i];
    }
    for (const auto& [key, value] : args_.named) {
      if (key == name) return value;
    }
    rt_.error("KeyError: '{}'", name);
  }

  Runtime& rt_;
  const Args& args_;
  std::size_t automatic_ = 0;
  bool manual_ = false;
};

}  // namespace

Value format_percent(Runtime& rt, const Value& text, const Value& values) {
  MarkedText out = PercentFormatter(rt, text, values).run();
  rt.charge(64);
  return Value::string(std::move(out), text.str().markup);
}

Value format_braces(Runtime& rt, const Value& text, const Args& args) {
  MarkedText out = BraceFormatter(rt, args).run(text.text(), 2);
  rt.charge(64);
  return Value::string(std::move(out), text.str().markup);
}

MarkedText format_value(Runtime& rt, const Value& value, std::string_view text) {
  if (text.empty()) return to_text(rt, value);
  const std::string_view type = type_name(value);
  if (!value.is_string() && !value.is_number()) {
    if (value.is_undefined()) return MarkedText();
    rt.error("unsupported format string passed to {}.__format__", type);
  }
  FormatSpec spec = parse_format_spec(rt, text, type);
  const auto unknown = [&]() {
    rt.error("Unknown format code '{}' for object of type '{}'", spec.type, type);
  };
  if (value.is_string()) {
    if (spec.type != 's' && spec.type != '\0') unknown();
    if (spec.sign != '-' || spec.alternate || spec.grouping != '\0' || spec.align == '=') {
      rt.error("'=' alignment, signs, '#' and ',' are not allowed in a string format specifier");
    }
    MarkedText out = spec.precision < 0 ? value.text() : first_chars(value.text(), spec.precision);
    return format_width(rt, spec, out, false);
  }
  const std::string_view known = value.is(Kind::kFloat) ? "eEfFgGn%" : "bcdoxXneEfFgG%";
  if (spec.type != '\0' && known.find(spec.type) == std::string_view::npos) unknown();
  if (value.is_integer() && spec.precision >= 0 &&
      std::string_view("eEfFgG%").find(spec.type) == std::string_view::npos) {
    rt.error("Precision not allowed in integer format specifier");
  }
  if (spec.grouping != '\0' && spec.type != '\0') {
    const std::string_view groupable = spec.grouping == ',' ? "deEfFgG%" : "deEfFgG%boxX";
    if (groupable.find(spec.type) == std::string_view::npos) {
      rt.error("Cannot specify '{}' with '{}'.", spec.grouping, spec.type);
    }
  }
  if (spec.type == 'c') {
    const std::int64_t code = as_index(rt, value);
    if (code < 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
      rt.error("%c arg not in range(0x110000)");
    }
    std::string bytes;
    append_utf8(bytes, static_cast<char32_t>(code));
    if (spec.align == '\0') spec.align = '<';
    return format_width(rt, spec, MarkedText(bytes, Origin::kTemplate), false);
  }
  return format_width(rt, spec, MarkedText(format_digits(rt, spec, value), Origin::kTemplate),
                      true);
}

}  // namespace conclave::text::jinja

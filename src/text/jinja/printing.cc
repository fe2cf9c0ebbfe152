#include "text/jinja/printing.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "text/jinja/loop.h"
#include "text/jinja/macro.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"
#include "text/utf8.h"

namespace conclave::text::jinja {

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  std::string_view text(buffer, static_cast<std::size_t>(end.ptr - buffer));
  std::string out;
  if (text[0] == '-') {
    out = "-";
    text.remove_prefix(1);
  }
  const std::size_t e = text.find('e');
  int exponent = 0;
  const char* from = text.data() + e + 1;
  if (*from == '+') ++from;
  std::from_chars(from, text.data() + text.size(), exponent);
  std::string digits(1, text[0]);
  if (e > 2) digits += text.substr(2, e - 2);
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (count > 1) out += "." + digits.substr(1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0)
    return out + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1) {
    return out + digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') + ".0";
  }
  const auto point = static_cast<std::size_t>(exponent + 1);
  return out + digits.substr(0, point) + "." + digits.substr(point);
}

namespace {

// How repr writes one character; `quote` is the one around the text.
void append_repr_char(std::string& out, char32_t c, char quote) {
  if (c == U'\\' || c == static_cast<char32_t>(quote)) {
    out.push_back('\\');
    out.push_back(static_cast<char>(c));
  } else if (c == U'\n') {
    out += "\\n";
  } else if (c == U'\r') {
    out += "\\r";
  } else if (c == U'\t') {
    out += "\\t";
  } else if (is_printable(c)) {
    append_utf8(out, c);
  } else {
    const auto code = static_cast<std::uint32_t>(c);
    out += code < 0x100     ? fmt::format("\\x{:02x}", code)
           : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                            : fmt::format("\\U{:08x}", code);
  }
}

char repr_quote(std::string_view text) {
  const bool single = text.find('\'') != std::string_view::npos;
  return single && text.find('"') == std::string_view::npos ? '"' : '\'';
}

// Calls write(std::string& out, char32_t) for each character and appends what it writes.
template <class Write>
void append_by_char(Runtime& rt, MarkedText& out, const MarkedText& text, Write&& write) {
  rt.step(text.size() / 16);
  text.each_piece(0, text.size(), [&](std::string_view piece, Origin origin) {
    std::string written;
    written.reserve(piece.size());
    for (std::size_t i = 0; i < piece.size();) {
      const Utf8Char c = decode_utf8(piece, i);
      write(written, c.value);
      i += c.size;
    }
    rt.charge(written.size());
    out.append(written, origin);
  });
}

void append_string_repr(Runtime& rt, MarkedText& out, const MarkedText& text) {
  const char quote = repr_quote(text.view());
  const std::string around(1, quote);
  out.append(around, Origin::kInput);
  append_by_char(rt, out, text,
                 [quote](std::string& to, char32_t c) { append_repr_char(to, c, quote); });
  out.append(around, Origin::kInput);
}

void append_repr(Runtime& rt, MarkedText& out, const Value& value);

void append_items(Runtime& rt, MarkedText& out, const std::vector<Value>& items,
                  std::string_view open, std::string_view close) {
  out.append(open, Origin::kInput);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append(", ", Origin::kInput);
    append_repr(rt, out, items[i]);
  }
  out.append(close, Origin::kInput);
}

void append_pairs(Runtime& rt, MarkedText& out, const DictObject& dict) {
  out.append("{", Origin::kInput);
  bool first = true;
  for (const auto& [key, value] : dict.entries) {
    if (!first) out.append(", ", Origin::kInput);
    first = false;
    append_repr(rt, out, key);
    out.append(": ", Origin::kInput);
    append_repr(rt, out, value);
  }
  out.append("}", Origin::kInput);
}

std::string range_text(const SequenceObject& range) {
  return range.step == 1 ? fmt::format("range({}, {})", range.start, range.stop)
                         : fmt::format("range({}, {}, {})", range.start, range.stop, range.step);
}

void append_namespace(Runtime& rt, MarkedText& out, NamespaceObject& object) {
  out.append("<Namespace {", Origin::kInput);
  bool first = true;
  for (const auto& [key, value] : object.attributes) {
    if (!first) out.append(", ", Origin::kInput);
    first = false;
    out.append(repr_text(rt, key) + ": ", Origin::kInput);
    append_repr(rt, out, value);
  }
  out.append("}>", Origin::kInput);
}

void append_repr(Runtime& rt, MarkedText& out, const Value& value) {
  const Runtime::Nested nested(rt);
  rt.step();
  rt.charge(8);
  const auto plain = [&](std::string_view text) { out.append(text, Origin::kTemplate); };
  switch (value.kind()) {
    case Kind::kUndefined:
      return plain("Undefined");
    case Kind::kNone:
      return plain("None");
    case Kind::kBool:
      return plain(value.boolean() ? "True" : "False");
    case Kind::kInt:
      return plain(std::to_string(value.integer()));
    case Kind::kBigInt:
      rt.step(value.as<BigIntObject>().value.bits());
      return plain(value.as<BigIntObject>().value.to_string());
    case Kind::kFloat:
      return plain(float_text(value.real()));
    case Kind::kString:
      if (value.str().markup) {
        out.append("Markup(", Origin::kInput);
        append_string_repr(rt, out, value.text());
        return out.append(")", Origin::kInput);
      }
      return append_string_repr(rt, out, value.text());
    case Kind::kList:
      return append_items(rt, out, value.items(), "[", "]");
    case Kind::kTuple:
      return append_items(rt, out, value.items(), "(", value.items().size() == 1 ? ",)" : ")");
    case Kind::kRange:
      return plain(range_text(value.as<SequenceObject>()));
    case Kind::kDict:
      return append_pairs(rt, out, value.dict());
    case Kind::kDictView:
      out.append(type_name(value), Origin::kInput);
      return append_items(rt, out, iterate(rt, value), "([", "])");
    case Kind::kNamespace:
      return append_namespace(rt, out, value.as<NamespaceObject>());
    case Kind::kMacro:
      return plain(value.as<MacroObject>().node == kNoNode
                       ? "<Macro anonymous>"
                       : fmt::format("<Macro {}>", repr_text(rt, value.as<MacroObject>().name)));
    case Kind::kLoop: {
      auto& loop = value.as<LoopObject>();
      return plain(fmt::format("<LoopContext {}/{}>", loop.index0 + 1, loop.length(rt)));
    }
    default:
      return plain(fmt::format("<{} object>", type_name(value)));
  }
}

}  // namespace

std::string repr_text(Runtime& rt, std::string_view text) {
  MarkedText out;
  append_string_repr(rt, out, MarkedText(std::string(text), Origin::kInput));
  return out.bytes();
}

MarkedText to_repr(Runtime& rt, const Value& value) {
  MarkedText out;
  append_repr(rt, out, value);
  return out;
}

void append_text(Runtime& rt, MarkedText& out, const Value& value) {
  if (value.is_string()) {
    rt.charge(value.bytes().size());
    out.append(value.text());
  } else if (!value.is_undefined()) {
    append_repr(rt, out, value);
  }
}

MarkedText to_text(Runtime& rt, const Value& value) {
  MarkedText out;
  append_text(rt, out, value);
  return out;
}

}  // namespace conclave::text::jinja

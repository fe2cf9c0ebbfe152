// Filters that make strings.
#include <algorithm>

#include "text/jinja/arguments.h"
#include "text/jinja/filter_table.h"
#include "text/jinja/formatting.h"
#include "text/jinja/markup.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/jinja/string_ops.h"
#include "text/utf8.h"

namespace conclave::text::jinja {
namespace {

Value like(const Value& string, MarkedText text) {
  return Value::string(std::move(text), string.str().markup);
}

Value upper_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "upper", args, {});
  const Value text = soft_string(rt, input);
  return like(text, map_case(rt, text.text(), CaseMapping::kUpper));
}

Value lower_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "lower", args, {});
  const Value text = soft_string(rt, input);
  return like(text, map_case(rt, text.text(), CaseMapping::kLower));
}

Value capitalize_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "capitalize", args, {});
  const Value text = soft_string(rt, input);
  return like(text, capitalize(rt, text.text()));
}

// A word begins behind white space, - ( { [ or <.
Value title_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "title", args, {});
  const MarkedText text = soft_string(rt, input).text();
  const auto separates = [](char32_t c) {
    return is_space(c) || c == U'-' || c == U'(' || c == U'{' || c == U'[' || c == U'<';
  };
  MarkedText out;
  for (std::size_t begin = 0; begin < text.size();) {
    const Utf8Char first = decode_utf8(text.view(), begin);
    std::size_t end = begin + first.size;
    const bool word = !separates(first.value);
    while (end < text.size()) {
      const Utf8Char c = decode_utf8(text.view(), end);
      if (separates(c.value) == word) break;
      end += c.size;
    }
    rt.step();
    out.append(map_case(rt, text.slice(begin, begin + first.size), CaseMapping::kUpper));
    out.append(map_case(rt, text.slice(begin + first.size, end), CaseMapping::kLower));
    begin = end;
  }
  return Value::string(std::move(out));
}

Value trim_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "trim", args, {"chars"});
  const Value text = soft_string(rt, input);
  std::optional<std::string_view> chars;
  if (a.set(0)) chars = a.text(0).view();
  return like(text, strip(rt, text.text(), Side::kBoth, chars));
}

Value center_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "center", args, {"width"});
  const Value text = soft_string(rt, input);
  return like(text, pad(rt, text.text(), Align::kCenter, a.index(0, 80),
                        MarkedText(" ", Origin::kTemplate)));
}

Value replace_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "replace", args, {"old", "new", "count"}, 2);
  const MarkedText from = to_text(rt, a[0]);
  return Value::string(replace(rt, to_text(rt, input), from.view(), to_text(rt, a[1]),
                               a.set(2) ? as_index(rt, a[2]) : -1));
}

Value format_filter(Runtime& rt, const Value& input, const Args& args) {
  if (!args.positional.empty() && !args.named.empty()) {
    rt.error("can't handle positional and keyword arguments at the same time");
  }
  const Value text = soft_string(rt, input);
  if (args.named.empty()) return format_percent(rt, text, rt.make_tuple(args.positional));
  auto named = std::make_shared<DictObject>();
  for (const auto& [key, value] : args.named) {
    dict_set(rt, *named, Value::string(key, Origin::kTemplate), value);
  }
  return format_percent(rt, text, Value::dict(std::move(named)));
}

Value indent_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "indent", args, {"width", "first", "blank"});
  if (input.is_undefined()) undefined_error(rt, input);
  if (!input.is_string()) {
    rt.error("unsupported operand type(s) for +=: '{}' and 'str'", type_name(input));
  }
  MarkedText text = input.text();
  const Origin origin = text.origin();
  MarkedText indention;
  if (a.has(0) && a[0].is_string()) {
    indention = a[0].text();
  } else {
    const std::int64_t width = std::max<std::int64_t>(0, a.index(0, 4));
    rt.charge(static_cast<std::uint64_t>(width));
    indention = MarkedText(std::string(static_cast<std::size_t>(width), ' '), origin);
  }
  const bool blank = a.flag(2, false);
  text.append("\n", origin);
  const std::vector<MarkedText> lines = split_lines(rt, text, false);
  MarkedText out;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    rt.charge(lines[i].size() + indention.size() + 1);
    if (i > 0) out.append("\n", origin);
    const bool indented = i == 0 ? a.flag(1, false) : blank || !lines[i].empty();
    if (indented) out.append(indention);
    out.append(lines[i]);
  }
  return like(input, std::move(out));
}

Value truncate_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "truncate", args, {"length", "killwords", "end", "leeway"});
  const std::int64_t size = a.index(0, 255);
  const Value end = a.has(2) ? a[2] : Value::string("...", Origin::kTemplate);
  const std::int64_t leeway = a.set(3) ? as_index(rt, a[3]) : 5;
  const auto end_size = static_cast<std::int64_t>(length(rt, end));
  if (size < end_size) rt.error("expected length >= {}, got {}", end_size, size);
  if (leeway < 0) rt.error("expected leeway >= 0, got {}", leeway);
  if (static_cast<std::int64_t>(length(rt, input)) <= size + leeway) return input;
  const Value none = Value::none();
  const Value head = get_slice(rt, input, none, Value::integer(size - end_size), none);
  if (!head.is_string()) rt.error("'{}' object has no attribute 'rsplit'", type_name(input));
  if (a.flag(1, false)) return arithmetic(rt, Operator::kAdd, head, end);
  const MarkedText first = split(rt, head.text(), " ", 1, true)[0];
  return arithmetic(rt, Operator::kAdd, like(head, first), end);
}

Value wordcount_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "wordcount", args, {});
  const MarkedText text = to_text(rt, input);
  std::int64_t words = 0;
  bool inside = false;
  rt.step(text.size() / 8);
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char c = decode_utf8(text.view(), i);
    const bool word = is_word(c.value);
    words += word && !inside;
    inside = word;
    i += c.size;
  }
  return Value::integer(words);
}

Value string_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "string", args, {});
  return soft_string(rt, input);
}

Value escape_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "escape", args, {});
  if (input.is_string() && input.str().markup) return input;
  return Value::string(escape_html(rt, to_text(rt, input)), true);
}

Value force_escape_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "forceescape", args, {});
  return Value::string(escape_html(rt, to_text(rt, input)), true);
}

Value safe_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "safe", args, {});
  return Value::string(to_text(rt, input), true);
}

MarkedText url_quote(Runtime& rt, const MarkedText& text, bool query) {
  rt.step(text.size() / 8);
  MarkedText out;
  text.each_piece(0, text.size(), [&](std::string_view piece, Origin origin) {
    std::string quoted;
    for (const char c : piece) {
      const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                         (c >= 'A' && c <= 'Z') || c == '_' || c == '.' || c == '-' || c == '~' ||
                         (c == '/' && !query);
      if (plain) {
        quoted.push_back(c);
      } else if (query && c == ' ') {
        quoted.push_back('+');
      } else {
        quoted += fmt::format("%{:02X}", static_cast<unsigned char>(c));
      }
    }
    rt.charge(quoted.size());
    out.append(quoted, origin);
  });
  return out;
}

Value urlencode_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "urlencode", args, {});
  if (input.is_string() || !is_iterable(input)) {
    return Value::string(url_quote(rt, to_text(rt, input), false));
  }
  Value pairs = input;
  if (input.is(Kind::kDict)) {
    Args none;
    auto view = std::make_shared<DictViewObject>();
    view->dict = input;
    view->part = DictViewObject::Part::kItems;
    pairs = Value(Kind::kDictView, std::move(view));
  }
  MarkedText out;
  for (const Value& pair : iterate(rt, pairs)) {
    const std::vector<Value> items = iterate(rt, pair);
    if (items.size() != 2) rt.error("urlencode needs pairs, found {} values", items.size());
    if (!out.empty()) out.append("&", Origin::kTemplate);
    out.append(url_quote(rt, to_text(rt, items[0]), true));
    out.append("=", Origin::kTemplate);
    out.append(url_quote(rt, to_text(rt, items[1]), true));
  }
  return Value::string(std::move(out));
}

Value tojson_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonOptions options;
  options.ensure_ascii = a.flag(0, false);
  options.sort_keys = a.flag(3, false);
  options.pretty = a.set(1);
  if (options.pretty) {
    if (a[1].is_string()) {
      options.indent = a[1].bytes();
    } else {
      const auto width = static_cast<std::uint64_t>(std::max<std::int64_t>(0, a.index(1, 0)));
      rt.charge(width);
      options.indent = std::string(width, ' ');
    }
  }
  options.item_separator = MarkedText(options.pretty ? "," : ", ", Origin::kInput);
  options.key_separator = MarkedText(": ", Origin::kInput);
  if (a.set(2)) {
    const std::vector<Value> pair = iterate(rt, a[2]);
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      rt.error("tojson: separators must be two strings");
    }
    options.item_separator = pair[0].text();
    options.key_separator = pair[1].text();
  }
  MarkedText out = to_json(rt, input, options);
  rt.charge(64);
  return Value::string(std::move(out));
}

Value unsupported_filter(Runtime& rt, const Value&, const Args&) {
  rt.unsupported("this filter is not supported in chat templates");
}

}  // namespace

void add_text_filters(FilterTable& table) {
  table.insert({{"upper", upper_filter},
                {"lower", lower_filter},
                {"capitalize", capitalize_filter},
                {"title", title_filter},
                {"trim", trim_filter},
                {"center", center_filter},
                {"replace", replace_filter},
                {"format", format_filter},
                {"indent", indent_filter},
                {"truncate", truncate_filter},
                {"wordcount", wordcount_filter},
                {"string", string_filter},
                {"e", escape_filter},
                {"escape", escape_filter},
                {"forceescape", force_escape_filter},
                {"safe", safe_filter},
                {"urlencode", urlencode_filter},
                {"tojson", tojson_filter}});
  for (const std::string_view name :
       {"random", "urlize", "xmlattr", "pprint", "wordwrap", "striptags"}) {
    table.emplace(name, unsupported_filter);
  }
}

}  // namespace conclave::text::jinja

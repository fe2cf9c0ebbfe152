// json.dumps of Python 3.11.
#include <fmt/format.h>

#include <cmath>

#include "text/jinja/operators.h"
#include "text/jinja/printing.h"
#include "text/utf8.h"

namespace conclave::text::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(Runtime& rt, const JsonOptions& options) : rt_(rt), options_(options) {}

  void write(const Value& value) {
    rt_.step();
    rt_.charge(8);
    switch (value.kind()) {
      case Kind::kNone:
        return plain("null");
      case Kind::kBool:
        return plain(value.boolean() ? "true" : "false");
      case Kind::kInt:
      case Kind::kBigInt:
        return out_.append(to_text(rt_, value));
      case Kind::kFloat:
        return plain(number(value.real()));
      case Kind::kString:
        return string(value.text());
      case Kind::kList:
      case Kind::kTuple:
        return list(value.items());
      case Kind::kDict:
        return dict(value.dict());
      default:
        rt_.error("Object of type {} is not JSON serializable", type_name(value));
    }
  }

  MarkedText take() { return std::move(out_); }

 private:
  void plain(std::string_view text) { out_.append(text, Origin::kTemplate); }
  void structure(std::string_view text) { out_.append(text, Origin::kInput); }

  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_text(value);
  }

  void newline() {
    if (!options_.pretty) return;
    std::string text = "\n";
    rt_.charge(options_.indent.size() * static_cast<std::size_t>(level_));
    for (int i = 0; i < level_; ++i) text += options_.indent;
    structure(text);
  }

  void list(const std::vector<Value>& items) {
    if (items.empty()) return structure("[]");
    structure("[");
    ++level_;
    newline();
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) {
        out_.append(options_.item_separator);
        newline();
      }
      write(items[i]);
    }
    --level_;
    newline();
    structure("]");
  }

  void dict(const DictObject& object) {
    if (object.entries.empty()) return structure("{}");
    std::vector<std::size_t> order(object.entries.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    if (options_.sort_keys) {
      std::vector<Value> keys;
      for (const auto& [key, value] : object.entries) keys.push_back(key);
      order = sorted_order(rt_, keys, false);
    }
    structure("{");
    ++level_;
    newline();
    bool first = true;
    for (const std::size_t i : order) {
      if (!first) {
        out_.append(options_.item_separator);
        newline();
      }
      first = false;
      key(object.entries[i].first);
      out_.append(options_.key_separator);
      write(object.entries[i].second);
    }
    --level_;
    newline();
    structure("}");
  }

  void key(const Value& value) {
    switch (value.kind()) {
      case Kind::kString:
        return string(value.text());
      case Kind::kNone:
        return plain("\"null\"");
      case Kind::kBool:
        return plain(value.boolean() ? "\"true\"" : "\"false\"");
      case Kind::kFloat:
        return plain("\"" + number(value.real()) + "\"");
      case Kind::kInt:
      case Kind::kBigInt:
        plain("\"");
        out_.append(to_text(rt_, value));
        return plain("\"");
      default:
        rt_.error("keys must be str, int, float, bool or None, not {}", type_name(value));
    }
  }

  void string(const MarkedText& text) {
    rt_.step(text.size() / 16);
    structure("\"");
    text.each_piece(0, text.size(), [this](std::string_view piece, Origin origin) {
      const std::string escaped = escape(piece);
      rt_.charge(escaped.size());
      out_.append(escaped, origin);
    });
    structure("\"");
  }

  std::string escape(std::string_view text) const {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size();) {
      const auto c = static_cast<unsigned char>(text[i]);
      if (c >= 0x80 && options_.ensure_ascii) {
        const Utf8Char found = decode_utf8(text, i);
        append_escape(out, static_cast<std::uint32_t>(found.value));
        i += found.size;
        continue;
      }
      ++i;
      switch (c) {
        case '"':
          out += "\\\"";
          break;
        case '\\':
          out += "\\\\";
          break;
        case '\n':
          out += "\\n";
          break;
        case '\r':
          out += "\\r";
          break;
        case '\t':
          out += "\\t";
          break;
        case '\f':
          out += "\\f";
          break;
        case '\b':
          out += "\\b";
          break;
        default:
          if (c < 0x20 || (c == 0x7f && options_.ensure_ascii)) {
            append_escape(out, c);
          } else {
            out.push_back(static_cast<char>(c));
          }
      }
    }
    return out;
  }

  static void append_escape(std::string& out, std::uint32_t code) {
    if (code < 0x10000) {
      out += fmt::format("\\u{:04x}", code);
      return;
    }
    code -= 0x10000;
    out += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (code >> 10), 0xdc00 + (code & 0x3ff));
  }

  Runtime& rt_;
  const JsonOptions& options_;
  MarkedText out_;
  int level_ = 0;
};

}  // namespace

MarkedText to_json(Runtime& rt, const Value& value, const JsonOptions& options) {
  JsonWriter writer(rt, options);
  writer.write(value);
  return writer.take();
}

}  // namespace conclave::text::jinja

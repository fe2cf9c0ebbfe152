#include "text/jinja/markup.h"

#include "text/jinja/unicode.h"
#include "text/utf8.h"

namespace conclave::text::jinja {

MarkedText escape_html(Runtime& rt, const MarkedText& text) {
  rt.step(text.size() / 16);
  MarkedText out;
  text.each_piece(0, text.size(), [&](std::string_view piece, Origin origin) {
    std::string escaped;
    for (const char c : piece) {
      switch (c) {
        case '&':
          escaped += "&amp;";
          break;
        case '<':
          escaped += "&lt;";
          break;
        case '>':
          escaped += "&gt;";
          break;
        case '\'':
          escaped += "&#39;";
          break;
        case '"':
          escaped += "&#34;";
          break;
        default:
          escaped.push_back(c);
      }
    }
    rt.charge(escaped.size());
    out.append(escaped, origin);
  });
  return out;
}

Value add_markup(Runtime& rt, const Value& a, const Value& b) {
  MarkedText out = a.str().markup ? a.text() : escape_html(rt, a.text());
  out.append(b.str().markup ? b.text() : escape_html(rt, b.text()));
  rt.charge(out.size());
  return Value::string(std::move(out), true);
}

}  // namespace conclave::text::jinja

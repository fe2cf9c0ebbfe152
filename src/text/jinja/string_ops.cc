#include "text/jinja/string_ops.h"

#include <algorithm>

#include "text/utf8.h"

namespace conclave::text::jinja {

std::size_t count_chars(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

MarkedText strip(Runtime& rt, const MarkedText& text, Side side,
                 std::optional<std::string_view> chars) {
  const std::string_view bytes = text.view();
  rt.step(bytes.size() / 64);
  const auto drop = [&](std::size_t at, std::size_t size, char32_t c) {
    if (!chars) return is_space(c);
    rt.step(chars->size() / 64);
    return chars->find(bytes.substr(at, size)) != std::string_view::npos;
  };
  std::size_t begin = 0;
  std::size_t end = bytes.size();
  while (side != Side::kRight && begin < end) {
    const Utf8Char c = decode_utf8(bytes, begin);
    if (!drop(begin, c.size, c.value)) break;
    begin += c.size;
  }
  while (side != Side::kLeft && begin < end) {
    const Utf8Char c = decode_utf8_before(bytes, end);
    if (!drop(end - c.size, c.size, c.value)) break;
    end -= c.size;
  }
  rt.charge(end - begin);
  return text.slice(begin, end);
}

namespace {

std::vector<MarkedText> split_space(Runtime& rt, const MarkedText& text, std::int64_t limit) {
  const std::string_view bytes = text.view();
  std::vector<MarkedText> out;
  std::size_t at = lstrip_begin(bytes, 0, bytes.size());
  while (at < bytes.size()) {
    rt.charge_items(4);
    if (limit >= 0 && static_cast<std::int64_t>(out.size()) == limit) {
      out.push_back(text.slice(at, rstrip_end(bytes, at, bytes.size())));
      break;
    }
    std::size_t end = at;
    while (end < bytes.size()) {
      const Utf8Char c = decode_utf8(bytes, end);
      if (is_space(c.value)) break;
      end += c.size;
    }
    out.push_back(text.slice(at, end));
    at = lstrip_begin(bytes, end, bytes.size());
  }
  return out;
}

std::vector<MarkedText> split_space_reverse(Runtime& rt, const MarkedText& text,
                                            std::int64_t limit) {
  const std::string_view bytes = text.view();
  std::vector<MarkedText> out;
  std::size_t end = rstrip_end(bytes, 0, bytes.size());
  while (end > 0) {
    rt.charge_items(4);
    std::size_t begin = end;
    if (limit >= 0 && static_cast<std::int64_t>(out.size()) == limit) {
      begin = lstrip_begin(bytes, 0, end);
      out.push_back(text.slice(begin, end));
      break;
    }
    while (begin > 0) {
      const Utf8Char c = decode_utf8_before(bytes, begin);
      if (is_space(c.value)) break;
      begin -= c.size;
    }
    out.push_back(text.slice(begin, end));
    end = rstrip_end(bytes, 0, begin);
  }
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace

std::vector<MarkedText> split(Runtime& rt, const MarkedText& text,
                              std::optional<std::string_view> separator, std::int64_t limit,
                              bool reverse) {
  rt.step(text.size() / 32);
  rt.charge(text.size());
  if (!separator) {
    return reverse ? split_space_reverse(rt, text, limit) : split_space(rt, text, limit);
  }
  const std::string_view bytes = text.view();
  std::vector<MarkedText> out;
  const auto full = [&] {
    rt.charge_items(4);
    return limit >= 0 && static_cast<std::int64_t>(out.size()) == limit;
  };
  if (!reverse) {
    std::size_t begin = 0;
    for (std::size_t at; !full() && (at = bytes.find(*separator, begin)) != bytes.npos;) {
      out.push_back(text.slice(begin, at));
      begin = at + separator->size();
    }
    out.push_back(text.slice(begin, bytes.size()));
    return out;
  }
  std::size_t end = bytes.size();
  while (!full() && end >= separator->size()) {
    const std::size_t at = bytes.rfind(*separator, end - separator->size());
    if (at == bytes.npos) break;
    out.push_back(text.slice(at + separator->size(), end));
    end = at;
  }
  out.push_back(text.slice(0, end));
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<MarkedText> split_lines(Runtime& rt, const MarkedText& text, bool keep_ends) {
  const std::string_view bytes = text.view();
  rt.step(bytes.size() / 16);
  rt.charge(bytes.size());
  const auto ends_line = [](char32_t c) {
    return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
  };
  std::vector<MarkedText> out;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    const Utf8Char c = decode_utf8(bytes, at);
    std::size_t next = at + c.size;
    if (ends_line(c.value)) {
      if (c.value == U'\r' && next < bytes.size() && bytes[next] == '\n') ++next;
      rt.charge_items(4);
      out.push_back(text.slice(begin, keep_ends ? next : at));
      begin = next;
    }
    at = next;
  }
  if (begin < bytes.size()) out.push_back(text.slice(begin, bytes.size()));
  return out;
}

MarkedText replace(Runtime& rt, const MarkedText& text, std::string_view from, const MarkedText& to,
                   std::int64_t limit) {
  const std::string_view bytes = text.view();
  rt.step(bytes.size() / 32);
  rt.charge(bytes.size());
  MarkedText out;
  std::size_t begin = 0;
  const auto put = [&] {
    rt.charge(to.size());
    rt.step();
    out.append(to);
    if (limit > 0) --limit;
  };
  if (from.empty()) {  // before every character, and at the end
    for (std::size_t at = 0; limit != 0;) {
      put();
      if (at == bytes.size()) break;
      const std::size_t size = decode_utf8(bytes, at).size;
      out.append(text, at, at + size);
      at += size;
      begin = at;
    }
  } else {
    for (std::size_t at; limit != 0 && (at = bytes.find(from, begin)) != bytes.npos;) {
      out.append(text, begin, at);
      put();
      begin = at + from.size();
    }
  }
  out.append(text, begin, bytes.size());
  return out;
}

MarkedText join(Runtime& rt, const MarkedText& separator, const std::vector<MarkedText>& parts) {
  MarkedText out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    rt.charge(parts[i].size() + separator.size());
    rt.step();
    if (i > 0) out.append(separator);
    out.append(parts[i]);
  }
  return out;
}

namespace {

// Rewrites character by character: write(std::string& to, char32_t c, std::size_t at).
template <class Write>
MarkedText rewrite(Runtime& rt, const MarkedText& text, Write&& write) {
  rt.step(text.size() / 8);
  MarkedText out;
  std::size_t at = 0;
  text.each_piece(0, text.size(), [&](std::string_view piece, Origin origin) {
    std::string written;
    written.reserve(piece.size());
    for (std::size_t i = 0; i < piece.size();) {
      const Utf8Char c = decode_utf8(piece, i);
      write(written, c.value, at);
      i += c.size;
      at += c.size;
    }
    rt.charge(written.size());
    out.append(written, origin);
  });
  return out;
}

// Greek sigma at the end of a word has a small letter of its own (Unicode 14.0, section 3.13).
bool final_sigma(std::string_view text, std::size_t at) {
  std::size_t before = at;
  char32_t c = 0;
  while (before > 0) {
    const Utf8Char found = decode_utf8_before(text, before);
    before -= found.size;
    c = found.value;
    if (!is_case_ignorable(c)) break;
    c = 0;
  }
  if (c == 0 || !is_cased(c)) return false;
  for (std::size_t after = at + 2; after < text.size();) {
    const Utf8Char found = decode_utf8(text, after);
    if (!is_case_ignorable(found.value)) return !is_cased(found.value);
    after += found.size;
  }
  return true;
}

void append_lower(std::string& to, char32_t c, std::string_view text, std::size_t at) {
  if (c == 0x3a3) {
    append_utf8(to, final_sigma(text, at) ? 0x3c2 : 0x3c3);
  } else {
    append_mapped(to, c, CaseMapping::kLower);
  }
}

}  // namespace

MarkedText map_case(Runtime& rt, const MarkedText& text, CaseMapping mapping) {
  return rewrite(rt, text, [&](std::string& to, char32_t c, std::size_t at) {
    if (mapping == CaseMapping::kLower) {
      append_lower(to, c, text.view(), at);
    } else {
      append_mapped(to, c, mapping);
    }
  });
}

MarkedText capitalize(Runtime& rt, const MarkedText& text) {
  return rewrite(rt, text, [&](std::string& to, char32_t c, std::size_t at) {
    if (at == 0) {
      append_mapped(to, c, CaseMapping::kTitle);
    } else {
      append_lower(to, c, text.view(), at);
    }
  });
}

MarkedText title(Runtime& rt, const MarkedText& text) {
  bool inside = false;
  return rewrite(rt, text, [&](std::string& to, char32_t c, std::size_t at) {
    if (inside) {
      append_lower(to, c, text.view(), at);
    } else {
      append_mapped(to, c, CaseMapping::kTitle);
    }
    inside = is_cased(c);
  });
}

MarkedText swap_case(Runtime& rt, const MarkedText& text) {
  return rewrite(rt, text, [&](std::string& to, char32_t c, std::size_t at) {
    if (is_upper(c)) {
      append_lower(to, c, text.view(), at);
    } else if (is_lower(c)) {
      append_mapped(to, c, CaseMapping::kUpper);
    } else {
      append_utf8(to, c);
    }
  });
}

MarkedText pad(Runtime& rt, const MarkedText& text, Align align, std::int64_t width,
               const MarkedText& fill) {
  const auto length = static_cast<std::int64_t>(count_chars(text.view()));
  if (width <= length) return text;
  const std::int64_t total = width - length;
  rt.charge(static_cast<std::uint64_t>(total) * fill.size() + text.size());
  rt.step(static_cast<std::uint64_t>(total) / 16);
  // As CPython centres: the odd one goes left where the width is odd.
  const std::int64_t left = align == Align::kLeft    ? 0
                            : align == Align::kRight ? total
                                                     : total / 2 + (total & width & 1);
  MarkedText out;
  for (std::int64_t i = 0; i < left; ++i) out.append(fill);
  out.append(text);
  for (std::int64_t i = left; i < total; ++i) out.append(fill);
  return out;
}

}  // namespace conclave::text::jinja

// Python's operations on str, with marks. Offsets are bytes; texts are UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "text/jinja/marked_text.h"
#include "text/jinja/runtime.h"
#include "text/jinja/unicode.h"

namespace conclave::text::jinja {

enum class Side : std::uint8_t { kBoth, kLeft, kRight };

// Without characters of `chars` at the sides; white space where there is no `chars`.
MarkedText strip(Runtime& rt, const MarkedText& text, Side side,
                 std::optional<std::string_view> chars = std::nullopt);
// `separator` absent: runs of white space. At most `limit` cuts, all where it is negative; from the
// right where `reverse`. The separator is not empty.
std::vector<MarkedText> split(Runtime& rt, const MarkedText& text,
                              std::optional<std::string_view> separator, std::int64_t limit,
                              bool reverse = false);
std::vector<MarkedText> split_lines(Runtime& rt, const MarkedText& text, bool keep_ends);
// At most `limit` times, all where it is negative. What is kept keeps its marks, `to` brings its
// own.
MarkedText replace(Runtime& rt, const MarkedText& text, std::string_view from, const MarkedText& to,
                   std::int64_t limit = -1);
MarkedText join(Runtime& rt, const MarkedText& separator, const std::vector<MarkedText>& parts);

MarkedText map_case(Runtime& rt, const MarkedText& text, CaseMapping mapping);
MarkedText capitalize(Runtime& rt, const MarkedText& text);
MarkedText title(Runtime& rt, const MarkedText& text);  // str.title, not the filter
MarkedText swap_case(Runtime& rt, const MarkedText& text);

// `width` characters, filled up with `fill` (one character) on the sides.
enum class Align : std::uint8_t { kLeft, kRight, kCenter };
MarkedText pad(Runtime& rt, const MarkedText& text, Align align, std::int64_t width,
               const MarkedText& fill);
std::size_t count_chars(std::string_view text);

}  // namespace conclave::text::jinja

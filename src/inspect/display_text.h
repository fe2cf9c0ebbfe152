// Text from outside (tokens, labels, samples) made fit to be shown and to be written as JSON: what
// comes out is always valid UTF-8 without control characters. HTML is not the concern of this file;
// see report.h.
#pragma once

#include <string>
#include <string_view>

namespace conclave::inspect {

// A token as a person can tell it from others: an open box (U+2423) for a space, a return arrow
// (U+21B5) for a newline, an arrow (U+21E5) for a tab, <0xE3> for a byte that is no UTF-8 by
// itself, <U+200B> for characters that cannot be seen (controls, zero width, direction marks).
std::string display_token(std::string_view bytes);

// Running text: spaces, newlines and tabs stay, bytes that are no UTF-8 become U+FFFD, and other
// characters that cannot be seen are written as <U+200B>.
std::string display_text(std::string_view bytes);

// A name on one line: as display_text, but newlines and tabs become spaces.
std::string display_name(std::string_view bytes);

}  // namespace conclave::inspect

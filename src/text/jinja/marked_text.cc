#include "text/jinja/marked_text.h"

#include <algorithm>

namespace conclave::text::jinja {

std::size_t MarkedText::run_of(std::size_t offset) const {
  return static_cast<std::size_t>(std::upper_bound(cuts_.begin(), cuts_.end(), offset) -
                                  cuts_.begin());
}

Origin MarkedText::origin_at(std::size_t offset) const { return origin_of_run(run_of(offset)); }

Origin MarkedText::origin() const { return cuts_.empty() ? first_ : Origin::kInput; }

void MarkedText::append(std::string_view bytes, Origin origin) {
  if (bytes.empty()) return;
  if (bytes_.empty()) {
    first_ = origin;
  } else if (origin_of_run(cuts_.size()) != origin) {
    cuts_.push_back(bytes_.size());
  }
  bytes_.append(bytes);
}

void MarkedText::append(const MarkedText& other, std::size_t begin, std::size_t end) {
  if (&other == this) {
    append(slice(begin, end));
    return;
  }
  if (other.empty() && empty() && cuts_.empty() && other.first_ == Origin::kInput) {
    first_ = Origin::kInput;
  }
  other.each_piece(begin, end,
                   [this](std::string_view bytes, Origin origin) { append(bytes, origin); });
}

MarkedText MarkedText::slice(std::size_t begin, std::size_t end) const {
  MarkedText out;
  if (begin >= end) {
    out.first_ = bytes_.empty() ? first_ : origin_at(std::min(begin, size() - 1));
    return out;
  }
  out.append(*this, begin, end);
  return out;
}

}  // namespace conclave::text::jinja

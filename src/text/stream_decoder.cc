#include <algorithm>
#include <utility>

#include "text/tokenizer.h"
#include "text/tokenizer_state.h"
#include "text/utf8.h"

namespace conclave::text {

StreamDecoder::StreamDecoder(Tokenizer tokenizer, bool skip_special)
    : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {
  const auto& steps = tokenizer_.state_->decoder.text_steps;
  hold_all_ = steps.size() > 1 || (steps.size() == 1 && steps[0]->only_strips_left() < 0);
  restart();
}

void StreamDecoder::restart() {
  const auto& steps = tokenizer_.state_->decoder.text_steps;
  first_ = true;
  held_id_ = -1;
  to_strip_ = !hold_all_ && steps.size() == 1 ? steps[0]->only_strips_left() : 0;
}

void StreamDecoder::append(std::int32_t id, bool last) {
  const detail::TokenizerState& state = *tokenizer_.state_;
  if (!first_) pending_ += state.decoder.separator;
  if (first_ || last) {
    pending_ += state.decode_token(id, first_, last);
  } else {
    pending_ += state.bytes_of(id);
  }
  first_ = false;
  while (to_strip_ > 0 && pending_.size() > unfinished_utf8(pending_)) {
    const Utf8Char c = decode_utf8(pending_, 0);
    if (c.value == state.decoder.text_steps[0]->stripped()) {
      pending_.erase(0, c.size);
      --to_strip_;
    } else {
      to_strip_ = 0;
    }
  }
}

std::string StreamDecoder::push(std::int32_t id) {
  const detail::TokenizerState& state = *tokenizer_.state_;
  if (!state.shown(id, skip_special_)) return {};
  if (state.decoder.looks_ahead()) std::swap(id, held_id_);
  if (id >= 0) append(id, false);
  if (hold_all_) return {};
  const std::size_t complete = pending_.size() - unfinished_utf8(pending_);
  std::string text = to_valid_utf8(std::string_view(pending_).substr(0, complete));
  pending_.erase(0, complete);
  return text;
}

std::string StreamDecoder::flush() {
  if (held_id_ >= 0) append(held_id_, true);
  if (hold_all_) tokenizer_.state_->decoder.apply_text_steps(pending_);
  std::string text = to_valid_utf8(pending_);
  pending_.clear();
  restart();
  return text;
}

}  // namespace conclave::text

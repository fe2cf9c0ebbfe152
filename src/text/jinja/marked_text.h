// Text that knows where its bytes come from. Every byte is either trusted (written in the template,
// or a special token that the model's own files name) or from the input (content, names, arguments
// of a conversation). Operations on strings carry the marks along, so that a tokenizer can refuse
// to see control tokens in what a user wrote, whatever the template did with it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::text::jinja {

enum class Origin : bool { kInput = false, kTemplate = true };

class MarkedText {
 public:
  MarkedText() = default;
  MarkedText(std::string bytes, Origin origin) : bytes_(std::move(bytes)), first_(origin) {}

  const std::string& bytes() const { return bytes_; }
  std::string_view view() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  void reserve(std::size_t bytes) { bytes_.reserve(bytes); }

  // The origin of the byte at `offset`; of an empty text the one it was made with.
  Origin origin_at(std::size_t offset) const;
  // kTemplate only where every byte is.
  Origin origin() const;

  void append(std::string_view bytes, Origin origin);
  void append(const MarkedText& other) { append(other, 0, other.size()); }
  // Bytes [begin, end) of `other`, which may be *this.
  void append(const MarkedText& other, std::size_t begin, std::size_t end);
  MarkedText slice(std::size_t begin, std::size_t end) const;

  // Calls piece(std::string_view bytes, Origin origin) for each longest piece of one origin in
  // [begin, end).
  template <class Piece>
  void each_piece(std::size_t begin, std::size_t end, Piece&& piece) const {
    std::size_t i = run_of(begin);
    while (begin < end) {
      const std::size_t stop = i < cuts_.size() && cuts_[i] < end ? cuts_[i] : end;
      piece(std::string_view(bytes_).substr(begin, stop - begin), origin_of_run(i));
      begin = stop;
      ++i;
    }
  }

 private:
  // The number of cuts at or before `offset`.
  std::size_t run_of(std::size_t offset) const;
  Origin origin_of_run(std::size_t run) const {
    return (run % 2 == 0) == (first_ == Origin::kTemplate) ? Origin::kTemplate : Origin::kInput;
  }

  std::string bytes_;
  Origin first_ = Origin::kTemplate;
  std::vector<std::size_t> cuts_;  // where the origin changes, rising, in (0, size)
};

}  // namespace conclave::text::jinja

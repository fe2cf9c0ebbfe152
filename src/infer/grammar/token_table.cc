#include "infer/grammar/token_table.h"

#include <algorithm>

#include "base/error.h"
#include "infer/grammar/builder.h"

namespace conclave::infer::grammar {

namespace {

constexpr std::size_t kLongestToken = 4096;  // bytes; longer ones are never chosen

void build(const std::vector<std::string>& bytes, std::vector<TokenTable::Node>& nodes,
           TokenTable::Twins& twins) {
  std::vector<std::int32_t> order;
  for (std::size_t id = 0; id < bytes.size(); ++id) {
    if (!bytes[id].empty() && bytes[id].size() <= kLongestToken) {
      order.push_back(static_cast<std::int32_t>(id));
    }
  }
  const auto of = [&](std::int32_t id) -> const std::string& {
    return bytes[static_cast<std::size_t>(id)];
  };
  std::sort(order.begin(), order.end(),
            [&](std::int32_t a, std::int32_t b) { return of(a) != of(b) ? of(a) < of(b) : a < b; });
  nodes.push_back({});
  std::vector<std::uint32_t> path = {0};  // nodes from the root to the last one
  const auto close = [&](std::size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      nodes[path.back()].end = static_cast<std::uint32_t>(nodes.size());
    }
  };
  const std::string* last = nullptr;
  for (const std::int32_t id : order) {
    const std::string& text = of(id);
    if (last != nullptr && text == *last) {
      twins.emplace_back(nodes.back().token, id);
      continue;
    }
    const std::size_t same =
        last == nullptr
            ? 0
            : static_cast<std::size_t>(
                  std::mismatch(text.begin(), text.end(), last->begin(), last->end()).first -
                  text.begin());
    close(same + 1);
    for (std::size_t i = same; i < text.size(); ++i) {
      path.push_back(static_cast<std::uint32_t>(nodes.size()));
      nodes.push_back(
          {.depth = static_cast<std::uint16_t>(i + 1), .byte = static_cast<std::uint8_t>(text[i])});
    }
    nodes.back().token = id;
    last = &text;
  }
  close(0);
}

}  // namespace

TokenTable::TokenTable(const text::Tokenizer& tokenizer, std::span<const std::int32_t> end_ids,
                       int vocab_size)
    : vocab_size_(vocab_size), end_ids_(end_ids.begin(), end_ids.end()) {
  std::sort(end_ids_.begin(), end_ids_.end());
  std::erase_if(end_ids_, [&](std::int32_t id) { return id < 0 || id >= vocab_size; });
  check_decoder(tokenizer);
  bytes_.resize(static_cast<std::size_t>(vocab_size));
  std::vector<std::string> first(bytes_.size());
  const std::int32_t limit = std::min(vocab_size, tokenizer.vocab_size());
  for (std::int32_t id = 0; id < limit; ++id) {
    if (is_end(id)) continue;
    std::string& text = bytes_[static_cast<std::size_t>(id)];
    text =
        tokenizer.is_special(id) ? special_token_bytes(id) : std::string(tokenizer.token_bytes(id));
    std::string& begins = first[static_cast<std::size_t>(id)];
    begins = text;
    if (!text.starts_with(' ') || tokenizer.is_special(id)) continue;
    const std::string alone = tokenizer.decode(std::span<const std::int32_t>(&id, 1));
    if (text.ends_with(alone)) begins = alone;
  }
  build(bytes_, nodes_, twins_);
  if (first == bytes_) return;
  first_bytes_ = std::move(first);
  build(first_bytes_, first_nodes_, first_twins_);
}

// Two tokens together must be the first one's beginning and the second one's bytes.
void TokenTable::check_decoder(const text::Tokenizer& tokenizer) const {
  const std::int32_t limit = std::min(vocab_size_, tokenizer.vocab_size());
  const std::int32_t step = std::max(1, limit / 64);
  const auto plain = [&](std::int32_t id) {
    const std::string_view bytes = tokenizer.token_bytes(id);
    return !tokenizer.is_special(id) && !bytes.empty() &&
           std::all_of(bytes.begin(), bytes.end(), [](char c) { return c > ' ' && c < 0x7f; });
  };
  std::int32_t last = -1;
  for (std::int32_t id = 0; id < limit; id += step) {
    if (!plain(id)) continue;
    if (last >= 0) {
      const std::int32_t pair[] = {last, id};
      const std::string expected =
          std::string(tokenizer.token_bytes(last)) + std::string(tokenizer.token_bytes(id));
      if (tokenizer.decode(pair) != expected) {
        fail(
            ErrorKind::kUnsupported,
            "this model's tokenizer puts more than tokens into its text, so answers cannot be held "
            "to a grammar");
      }
    }
    last = id;
  }
}

const std::string& TokenTable::bytes(std::int32_t id, bool first) const {
  static const std::string kNothing;
  if (id < 0 || id >= vocab_size_) return kNothing;
  const auto& list = first && !first_bytes_.empty() ? first_bytes_ : bytes_;
  return list[static_cast<std::size_t>(id)];
}

bool TokenTable::is_end(std::int32_t id) const {
  return std::binary_search(end_ids_.begin(), end_ids_.end(), id);
}

}  // namespace conclave::infer::grammar

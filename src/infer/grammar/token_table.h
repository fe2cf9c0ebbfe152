// The tokens of a vocabulary by their bytes, as a trie laid out in preorder, so that a walk over
// all tokens is one pass through memory that skips what cannot be.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace conclave::infer::grammar {

class TokenTable {
 public:
  struct Node {
    std::uint32_t end = 0;    // of its subtree
    std::int32_t token = -1;  // that ends here; of several the one with the lowest id
    std::uint16_t depth = 0;  // bytes from the root
    std::uint8_t byte = 0;    // that leads here
  };

  // `vocab_size` is the model's. End-of-text tokens and other special ones have no text; the latter
  // stand for special_token_bytes(). Throws Error(kUnsupported) where the tokenizer's decoder does
  // more than join bytes (and strip a beginning).
  TokenTable(const text::Tokenizer& tokenizer, std::span<const std::int32_t> end_ids,
             int vocab_size);

  // Preorder; the first one is the root.
  const std::vector<Node>& nodes() const { return nodes_; }
  // The same for the first token of an answer, where decoders may strip a space.
  const std::vector<Node>& first_nodes() const {
    return first_nodes_.empty() ? nodes_ : first_nodes_;
  }
  // Tokens with the bytes of another: {the one in the trie, the other}.
  using Twins = std::vector<std::pair<std::int32_t, std::int32_t>>;
  const Twins& twins() const { return twins_; }
  const Twins& first_twins() const { return first_nodes_.empty() ? twins_ : first_twins_; }

  // Empty for tokens without text.
  const std::string& bytes(std::int32_t id, bool first) const;
  const std::vector<std::int32_t>& end_ids() const { return end_ids_; }
  bool is_end(std::int32_t id) const;
  int vocab_size() const { return vocab_size_; }

 private:
  void check_decoder(const text::Tokenizer& tokenizer) const;

  int vocab_size_;
  std::vector<std::int32_t> end_ids_;
  std::vector<std::string> bytes_, first_bytes_;  // by id; the latter empty where nothing differs
  std::vector<Node> nodes_, first_nodes_;
  Twins twins_, first_twins_;
};

}  // namespace conclave::infer::grammar

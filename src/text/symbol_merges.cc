#include "text/symbol_merges.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/token_trie.h"

namespace conclave::text {
namespace {

// Published vocabularies have up to 8 pairs a token.
constexpr std::size_t kMostPairs = 64;
constexpr std::size_t kMostPairsAnyway = 1 << 16;

std::size_t symbol_size(std::string_view text, std::size_t at, SymbolKind kind) {
  return kind == SymbolKind::kBytes ? 1 : decode_utf8(text, at).size;
}

class Builder {
 public:
  Builder(std::span<const JoinedToken> tokens, SymbolKind kind) : tokens_(tokens), kind_(kind) {
    std::vector<std::pair<std::string_view, std::int32_t>> forward;
    std::vector<std::pair<std::string_view, std::int32_t>> backward;
    reversed_.reserve(tokens.size());
    for (const JoinedToken& token : tokens) {
      if (token.text.empty()) continue;
      forward.emplace_back(token.text, token.id);
      reversed_.emplace_back(token.text.rbegin(), token.text.rend());
      backward.emplace_back(reversed_.back(), token.id);
    }
    forward_ = TokenTrie(std::move(forward));
    backward_ = TokenTrie(std::move(backward));
    reversed_ = {};
  }

  SymbolMerges run() {
    most_pairs_ = kMostPairs * tokens_.size() + kMostPairsAnyway;
    for (const JoinedToken& token : tokens_) add(token);
    return std::move(out_);
  }

 private:
  // What the text before (or behind) a cut is as one symbol; -1 where it is none.
  std::int32_t symbol(std::int32_t token, std::string_view text) const {
    if (token >= 0 || kind_ == SymbolKind::kBytes) return token;
    const Utf8Char c = decode_utf8(text, 0);
    return c.size == text.size() ? char_symbol(c, text) : -1;
  }

  void add(const JoinedToken& token) {
    const std::string_view text = token.text;
    // Tokens that end where a cut is, from the end; then those that begin there, from the front.
    ends_.assign(text.size() + 1, -1);
    std::uint32_t node = TokenTrie::kRoot;
    for (std::size_t cut = text.size(); cut > 0 && node != TokenTrie::kNone; --cut) {
      if (cut < text.size()) ends_[cut] = backward_.value(node);
      node = backward_.step(node, text[cut - 1]);
    }
    node = TokenTrie::kRoot;
    std::int32_t last = -1;
    for (std::size_t cut = 0; cut < text.size();) {
      const std::size_t size = symbol_size(text, cut, kind_);
      const std::int32_t here = single(text.substr(cut, size));
      if (cut > 0) {
        out_.bridges.add(last, here, {0, 0});
        const std::int32_t left_token = node == TokenTrie::kNone ? -1 : forward_.value(node);
        const std::int32_t left = symbol(left_token, text.substr(0, cut));
        const std::int32_t right = symbol(ends_[cut], text.substr(cut));
        if (left != -1 && right != -1) add_pair(left, right, token);
      }
      last = here;
      if (node != TokenTrie::kNone) node = forward_.walk(node, text.substr(cut, size));
      cut += size;
    }
  }

  std::int32_t single(std::string_view symbol_text) const {
    const std::uint32_t node = forward_.walk(TokenTrie::kRoot, symbol_text);
    return symbol(node == TokenTrie::kNone ? -1 : forward_.value(node), symbol_text);
  }

  void add_pair(std::int32_t left, std::int32_t right, const JoinedToken& token) {
    if (++pairs_ > most_pairs_) {
      fail(ErrorKind::kUnsupported, "{} tokens fall apart in more than {} ways; at most {} each",
           tokens_.size(), most_pairs_, kMostPairs);
    }
    out_.merges.add(left, right, {token.rank, token.id});
  }

  std::span<const JoinedToken> tokens_;
  SymbolKind kind_;
  std::vector<std::string> reversed_;
  TokenTrie forward_;
  TokenTrie backward_;
  std::vector<std::int32_t> ends_;
  std::size_t pairs_ = 0;
  std::size_t most_pairs_ = 0;
  SymbolMerges out_;
};

}  // namespace

SymbolMerges make_symbol_merges(std::span<const JoinedToken> tokens, SymbolKind kind) {
  return Builder(tokens, kind).run();
}

}  // namespace conclave::text

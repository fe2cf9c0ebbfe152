#include "text/scored_bpe_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/display.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

// A user-defined token in the text takes part in no merge: its symbol is none that a merge names.
constexpr std::int32_t kFrozen = std::numeric_limits<std::int32_t>::min();
bool is_frozen(std::int32_t symbol) { return symbol < kFrozen + kMaxVocabulary; }
std::int32_t freeze(std::int32_t id) { return kFrozen + id; }

bool takes_part(PieceKind kind) {
  return kind == PieceKind::kNormal || kind == PieceKind::kUserDefined ||
         kind == PieceKind::kUnused;
}

// Equal scores share a rank, so that among them the leftmost joins first.
std::vector<JoinedToken> ranked(const std::vector<ScoredPiece>& pieces) {
  std::vector<JoinedToken> tokens;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (!takes_part(pieces[i].kind) || pieces[i].text.empty()) continue;
    if (!std::isfinite(pieces[i].score)) {
      fail(ErrorKind::kBadFile, "token {} '{}': its score is not a finite number", i,
           display_text(pieces[i].text));
    }
    tokens.push_back({pieces[i].text, static_cast<std::int32_t>(i), 0});
  }
  const auto score = [&](const JoinedToken& token) {
    return pieces[static_cast<std::size_t>(token.id)].score;
  };
  std::vector<std::uint32_t> order(tokens.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return score(tokens[a]) > score(tokens[b]);
  });
  std::uint32_t rank = 0;
  for (std::size_t k = 0; k < order.size(); ++k) {
    if (k > 0 && score(tokens[order[k]]) != score(tokens[order[k - 1]])) ++rank;
    tokens[order[k]].rank = rank;
  }
  return tokens;
}

}  // namespace

ScoredBpeModel::ScoredBpeModel(ScoredBpeConfig config, const std::vector<ScoredPiece>& pieces)
    : config_(config) {
  if (config_.unk_id < 0 || static_cast<std::size_t>(config_.unk_id) >= pieces.size()) {
    fail(ErrorKind::kBadFile, "the unknown token has id {}, expected one below {}", config_.unk_id,
         pieces.size());
  }
  vocabulary_.reserve(pieces.size());
  joinable_.resize(pieces.size());
  byte_ids_.fill(config_.unk_id);
  bool any_unused = false;
  std::vector<std::pair<std::string_view, std::int32_t>> user_defined;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto id = static_cast<std::int32_t>(i);
    if (pieces[i].text.empty()) continue;
    vocabulary_.add(pieces[i].text, id);
    joinable_[i] = takes_part(pieces[i].kind);
    any_unused = any_unused || pieces[i].kind == PieceKind::kUnused;
    if (pieces[i].kind == PieceKind::kUserDefined && config_.match_user_defined) {
      user_defined.emplace_back(pieces[i].text, id);
    }
  }
  vocabulary_.finish();
  if (any_unused) {
    unused_.resize(pieces.size());
    for (std::size_t i = 0; i < pieces.size(); ++i)
      unused_[i] = pieces[i].kind == PieceKind::kUnused;
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto id = vocabulary_.find(fmt::format("<0x{:02X}>", byte));
    if (id) byte_ids_[byte] = *id;
  }
  user_defined_ = TokenTrie(std::move(user_defined));
  if (config_.merge) merges_ = make_symbol_merges(ranked(pieces), SymbolKind::kChars);
}

ScoredBpeModel::Symbol ScoredBpeModel::next_symbol(std::string_view text, std::size_t at) const {
  if (!user_defined_.empty()) {
    std::uint32_t node = TokenTrie::kRoot;
    Symbol longest;
    for (std::size_t end = at; end < text.size();) {
      node = user_defined_.step(node, text[end++]);
      if (node == TokenTrie::kNone) break;
      if (user_defined_.value(node) >= 0) longest = {freeze(user_defined_.value(node)), end - at};
    }
    if (longest.size > 0) return longest;
  }
  const Utf8Char c = decode_utf8(text, at);
  const std::string_view character = text.substr(at, c.size);
  const auto id = vocabulary_.find(character);
  const bool known = id && joinable_[static_cast<std::size_t>(*id)];
  return {known ? *id : char_symbol(c, character), c.size};
}

void ScoredBpeModel::append_char(std::int32_t symbol, std::vector<std::int32_t>& ids) const {
  std::string bytes;
  const auto value = static_cast<char32_t>(-2 - symbol);
  if (value < 0x110000u) {
    append_utf8(bytes, value);
  } else {
    bytes.push_back(static_cast<char>(value - 0x110000u));
  }
  // A control or byte token of one character stands for that character.
  if (const auto id = vocabulary_.find(bytes)) {
    ids.push_back(*id);
  } else if (config_.byte_fallback) {
    for (const char byte : bytes) ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  } else {
    ids.push_back(config_.unk_id);
  }
}

// Unused tokens fall apart again, into what they were last seen to be made of.
void ScoredBpeModel::append(std::int32_t symbol, const BpeMergeScratch& merge,
                            std::vector<std::int32_t>& ids) const {
  std::vector<std::int32_t> open{symbol};
  while (!open.empty()) {
    const std::int32_t top = open.back();
    open.pop_back();
    if (is_frozen(top)) {
      ids.push_back(top - kFrozen);
    } else if (is_char_symbol(top)) {
      append_char(top, ids);
    } else {
      const bool unused = !unused_.empty() && unused_[static_cast<std::size_t>(top)];
      const auto made = unused ? merge.made_from.find(top) : merge.made_from.end();
      if (made == merge.made_from.end()) {
        ids.push_back(top);
      } else {
        open.push_back(made->second.second);
        open.push_back(made->second.first);
      }
    }
  }
}

void ScoredBpeModel::encode_run(std::string_view run, ModelScratch& scratch,
                                std::vector<std::int32_t>& ids) const {
  if (const auto* known = scratch.cache.find(run)) {
    ids.insert(ids.end(), known->begin(), known->end());
    return;
  }
  const std::size_t begin = ids.size();
  merge_symbols(merges_.merges, scratch.symbols, scratch.merge, unused_);
  for (const std::int32_t symbol : scratch.symbols) {
    if (symbol >= 0 && unused_.empty()) {
      ids.push_back(symbol);
    } else {
      append(symbol, scratch.merge, ids);
    }
  }
  scratch.cache.put(run, std::span(ids).subspan(begin));
}

// Text falls into runs that no merge crosses, most of them words; but what unused tokens are made
// of is remembered over the whole text, so with them it is one run. Neighbouring unknown tokens
// become one.
void ScoredBpeModel::encode(std::string_view piece, bool byte_level, ModelScratch& scratch,
                            std::vector<std::int32_t>& ids) const {
  std::string spelled;
  if (byte_level) {
    append_alphabet(spelled, piece);
    piece = spelled;
  }
  const std::size_t first_id = ids.size();
  scratch.merge.made_from.clear();
  scratch.symbols.clear();
  std::size_t begin = 0;
  for (std::size_t at = 0; at < piece.size();) {
    const Symbol symbol = next_symbol(piece, at);
    if (unused_.empty() && !scratch.symbols.empty() &&
        merges_.bridges.rank(scratch.symbols.back(), symbol.id) == MergeTable::kNone) {
      encode_run(piece.substr(begin, at - begin), scratch, ids);
      scratch.symbols.clear();
      begin = at;
    }
    scratch.symbols.push_back(symbol.id);
    at += symbol.size;
  }
  if (!scratch.symbols.empty()) encode_run(piece.substr(begin), scratch, ids);
  const auto unknown_pair = [this](std::int32_t a, std::int32_t b) {
    return a == b && a == config_.unk_id;
  };
  const auto from = ids.begin() + static_cast<std::ptrdiff_t>(first_id);
  ids.erase(std::unique(from, ids.end(), unknown_pair), ids.end());
}

}  // namespace conclave::text

// WordPiece (Schuster and Nakajima 2012; the longest token from the left, again and again) and
// WordLevel (a piece is a token or unknown).
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/display.h"
#include "text/model.h"
#include "text/token_trie.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

std::int32_t find_unknown(const Vocabulary& vocabulary, const std::string& token) {
  const auto id = vocabulary.find(token);
  if (!id) {
    fail(ErrorKind::kBadFile, "key 'model.unk_token': '{}' is not in the vocabulary",
         display_text(token));
  }
  return *id;
}

// True when `text` has at most `most` characters.
bool at_most_chars(std::string_view text, std::int64_t most) {
  std::size_t i = 0;
  for (std::int64_t n = 0; i < text.size(); ++n) {
    if (n == most) return false;
    i += decode_utf8(text, i).size;
  }
  return true;
}

std::vector<std::pair<std::string_view, std::int32_t>> entries_of(const Vocabulary& vocabulary) {
  std::vector<std::pair<std::string_view, std::int32_t>> entries;
  for (std::int32_t id = 0; id < vocabulary.id_limit(); ++id) {
    if (vocabulary.has(id)) entries.emplace_back(vocabulary.text(id), id);
  }
  return entries;
}

class WordPieceModel : public Model {
 public:
  WordPieceModel(Vocabulary vocabulary, const std::string& unk_token, std::string_view prefix,
                 std::int64_t max_chars)
      : max_chars_(max_chars) {
    vocabulary_ = std::move(vocabulary);
    unk_id_ = find_unknown(vocabulary_, unk_token);
    trie_ = TokenTrie(entries_of(vocabulary_));
    continuing_ = trie_.walk(TokenTrie::kRoot, prefix);
  }

  void encode(std::string_view piece, bool byte_level, ModelScratch& scratch,
              std::vector<std::int32_t>& ids) const override {
    if (byte_level) {
      scratch.spelling.clear();
      append_alphabet(scratch.spelling, piece);
      piece = scratch.spelling;
    }
    const std::size_t before = ids.size();
    if (at_most_chars(piece, max_chars_) && append(piece, ids)) return;
    ids.resize(before);
    ids.push_back(unk_id_);
  }
  std::optional<std::int32_t> unknown_id() const override { return unk_id_; }

 private:
  bool append(std::string_view piece, std::vector<std::int32_t>& ids) const {
    for (std::size_t begin = 0; begin < piece.size();) {
      std::uint32_t node = begin == 0 ? TokenTrie::kRoot : continuing_;
      std::int32_t longest = -1;
      std::size_t longest_end = begin;
      for (std::size_t end = begin; end < piece.size() && node != TokenTrie::kNone;) {
        node = trie_.step(node, piece[end++]);
        if (node == TokenTrie::kNone || trie_.value(node) < 0) continue;
        longest = trie_.value(node);
        longest_end = end;
      }
      if (longest < 0) return false;
      ids.push_back(longest);
      begin = longest_end;
    }
    return true;
  }

  std::int64_t max_chars_;
  std::int32_t unk_id_ = 0;
  TokenTrie trie_;
  std::uint32_t continuing_ = TokenTrie::kNone;  // the node behind the prefix of inner tokens
};

class WordLevelModel : public Model {
 public:
  WordLevelModel(Vocabulary vocabulary, const std::string& unk_token) {
    vocabulary_ = std::move(vocabulary);
    unk_id_ = vocabulary_.find(unk_token);
  }

  void encode(std::string_view piece, bool byte_level, ModelScratch& scratch,
              std::vector<std::int32_t>& ids) const override {
    if (byte_level) {
      scratch.spelling.clear();
      append_alphabet(scratch.spelling, piece);
      piece = scratch.spelling;
    }
    const auto id = vocabulary_.find(piece);
    if (!id && !unk_id_) {
      fail(ErrorKind::kUnsupported, "'{}' is not in the vocabulary, and there is no unknown token",
           display_text(piece));
    }
    ids.push_back(id ? *id : *unk_id_);
  }
  std::optional<std::int32_t> unknown_id() const override { return unk_id_; }

 private:
  std::optional<std::int32_t> unk_id_;
};

}  // namespace

std::unique_ptr<Model> make_word_piece_model(const JsonView& config, TokenizerFile& file) {
  Vocabulary vocabulary;
  take_vocabulary(file, vocabulary);
  return std::make_unique<WordPieceModel>(std::move(vocabulary),
                                          config.text_or("unk_token", "[UNK]"),
                                          config.text_or("continuing_subword_prefix", "##"),
                                          config.integer_or("max_input_chars_per_word", 100));
}

std::unique_ptr<Model> make_word_level_model(const JsonView& config, TokenizerFile& file) {
  Vocabulary vocabulary;
  take_vocabulary(file, vocabulary);
  return std::make_unique<WordLevelModel>(std::move(vocabulary),
                                          config.text_or("unk_token", "<unk>"));
}

}  // namespace conclave::text

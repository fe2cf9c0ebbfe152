// Pre-tokenizers: cut a text into the pieces that the model then encodes one by one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_view.h"
#include "text/regex.h"

namespace conclave::text {

struct Piece {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  bool at_start = false;  // as NormalText::at_start
};

// A text and the pieces of it that remain, in order. No piece is empty.
struct Pieces {
  std::string text;
  std::vector<Piece> pieces;
  // The text is still bytes, but counts as if each were written in the byte alphabet. The model can
  // take it so; anything else wants it spelled out first.
  bool byte_level = false;

  std::string_view view(const Piece& piece) const {
    return std::string_view(text).substr(piece.begin, piece.end - piece.begin);
  }
  // Spells bytes out in the alphabet where byte_level is set.
  void spell_out();
};

// Throws Error(kInvalidArgument) for texts that have grown beyond 32-bit offsets.
void check_piece_offsets(std::size_t bytes);

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Pieces& pieces, RegexScratch& scratch) const = 0;
};

// What becomes of a delimiter.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
SplitBehavior parse_split_behavior(const JsonView& value);

// Replaces the parts that cover `piece` (in order, matches being delimiters) by what `behavior`
// makes of them, and appends those that are not empty.
void append_split(const Piece& piece, std::vector<RegexPart>& parts, SplitBehavior behavior,
                  std::vector<Piece>& out);

// Calls cut(view of piece, parts) for each piece; cut appends parts that cover it, relative to the
// whole text (begin at piece.begin).
template <class Cut>
void split_pieces(Pieces& pieces, SplitBehavior behavior, const Cut& cut) {
  pieces.spell_out();
  std::vector<Piece> out;
  std::vector<RegexPart> parts;
  out.reserve(pieces.pieces.size());
  for (const Piece& piece : pieces.pieces) {
    parts.clear();
    cut(piece, parts);
    append_split(piece, parts, behavior, out);
  }
  pieces.pieces = std::move(out);
}

// Rewrites every piece: edit(view, at_start, out) appends the new text. Pieces that become empty
// are dropped.
template <class Edit>
void rewrite_pieces(Pieces& pieces, const Edit& edit) {
  pieces.spell_out();
  std::string text;
  text.reserve(pieces.text.size() + pieces.pieces.size());
  std::vector<Piece> out;
  out.reserve(pieces.pieces.size());
  for (const Piece& piece : pieces.pieces) {
    const std::size_t begin = text.size();
    edit(pieces.view(piece), piece.at_start, text);
    if (text.size() > begin) {
      out.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(text.size()),
                     piece.at_start});
    }
  }
  check_piece_offsets(text.size());
  pieces.text = std::move(text);
  pieces.pieces = std::move(out);
}

// From a "pre_tokenizer" object. Throws Error(kBadFile), or (kUnsupported) for an unknown type.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const JsonView& config);

// By family; null where the type is not theirs.
std::unique_ptr<PreTokenizer> make_split_pre_tokenizer(const std::string& type,
                                                       const JsonView& config);
std::unique_ptr<PreTokenizer> make_byte_level_pre_tokenizer(const std::string& type,
                                                            const JsonView& config);
std::unique_ptr<PreTokenizer> make_metaspace_pre_tokenizer(const std::string& type,
                                                           const JsonView& config);
std::unique_ptr<PreTokenizer> make_char_pre_tokenizer(const std::string& type,
                                                      const JsonView& config);
std::unique_ptr<PreTokenizer> make_script_pre_tokenizer(const std::string& type,
                                                        const JsonView& config);

}  // namespace conclave::text

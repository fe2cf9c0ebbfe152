#include "text/tokenizer.h"

#include <algorithm>
#include <new>
#include <optional>
#include <utility>

#include "base/error.h"
#include "text/tokenizer_state.h"
#include "text/utf8.h"

namespace conclave::text {
namespace {

using detail::TokenizerState;

// Bytes that are normalized again to find where parts of a text end up; a few seconds' work.
constexpr std::size_t kMostRenormalized = std::size_t{256} << 20;

// One call of encode() or encode_parts().
class Encoder {
 public:
  explicit Encoder(const TokenizerState& state) : state_(state) {}

  std::vector<std::int32_t> run(std::string_view text, TrustedRanges trusted, bool add_special) {
    for (const AddedPart& part : state_.added.split(AddedTokens::Stage::kOriginal, text, trusted)) {
      if (part.id >= 0) {
        ids_.push_back(part.id);
      } else if (part.begin < part.end) {
        encode_original(text.substr(part.begin, part.end - part.begin), part.begin == 0,
                        clip(trusted, part.begin, part.end));
      }
    }
    state_.post_processor.apply(add_special, ids_);
    return std::move(ids_);
  }

 private:
  void encode_original(std::string_view part, bool at_start, TrustedRanges trusted) {
    guarded_ = !all_trusted(trusted, part.size());
    NormalText normal{std::string(part), at_start};
    if (state_.normalizer) state_.normalizer->apply(normal, regex_);
    check_piece_offsets(normal.text.size());
    const auto parts = state_.added.split(AddedTokens::Stage::kNormalized, normal.text,
                                          normalized_ranges(part, normal, trusted));
    if (parts.size() == 1 && parts[0].id < 0) {
      encode_normalized(std::move(normal.text), normal.at_start);
      return;
    }
    for (const AddedPart& inner : parts) {
      if (inner.id >= 0) {
        ids_.push_back(inner.id);
      } else {
        encode_normalized(normal.text.substr(inner.begin, inner.end - inner.begin),
                          normal.at_start && inner.begin == 0);
      }
    }
  }

  // Where the trusted bytes of `part` are in its normalized text. A range that cannot be told, as
  // what stands around it changes it, is not trusted.
  std::vector<ByteRange> normalized_ranges(std::string_view part, const NormalText& normal,
                                           TrustedRanges trusted) {
    if (!guarded_) return {{0, static_cast<std::uint32_t>(normal.text.size())}};
    if (trusted.empty() || !state_.added.has_special(AddedTokens::Stage::kNormalized)) return {};
    if (!state_.normalizer) return {trusted.begin(), trusted.end()};
    std::vector<ByteRange> ranges;
    for (const ByteRange& range : trusted) {
      const auto begin = normalized_size(part.substr(0, range.begin), normal.text);
      const auto end = normalized_size(part.substr(0, range.end), normal.text);
      if (!begin || !end || *begin >= *end) continue;
      if (!ranges.empty() && ranges.back().end >= *begin) continue;
      ranges.push_back({*begin, *end});
    }
    return ranges;
  }

  // The size of `front` normalized, where that is how `whole` begins.
  std::optional<std::uint32_t> normalized_size(std::string_view front, std::string_view whole) {
    renormalized_ += front.size();
    if (renormalized_ > kMostRenormalized) {
      fail(ErrorKind::kInvalidArgument,
           "more than {} bytes to normalize again to tell parts of a text apart; encode it in "
           "several calls",
           kMostRenormalized);
    }
    NormalText text{std::string(front), false};
    state_.normalizer->apply(text, regex_);
    if (!whole.starts_with(text.text)) return std::nullopt;
    return static_cast<std::uint32_t>(text.text.size());
  }

  void encode_normalized(std::string text, bool at_start) {
    if (text.empty()) return;
    Pieces pieces;
    pieces.text = std::move(text);
    pieces.pieces = {{0, static_cast<std::uint32_t>(pieces.text.size()), at_start}};
    if (state_.pre_tokenizer) state_.pre_tokenizer->apply(pieces, regex_);
    for (const Piece& piece : pieces.pieces) {
      const std::size_t before = ids_.size();
      state_.model->encode(pieces.view(piece), pieces.byte_level, scratch_, ids_);
      if (guarded_) take_controls_apart(before);
    }
  }

  bool is_control(std::int32_t id) const { return state_.control[static_cast<std::size_t>(id)]; }

  // A model may know special tokens as ordinary ones and make them of plain text ("</s>" in most
  // Unigram vocabularies): then their characters take their place.
  void take_controls_apart(std::size_t from) {
    const auto begin = ids_.begin() + static_cast<std::ptrdiff_t>(from);
    if (std::none_of(begin, ids_.end(), [this](std::int32_t id) { return is_control(id); })) return;
    const std::vector<std::int32_t> made(begin, ids_.end());
    ids_.resize(from);
    for (const std::int32_t id : made) {
      if (!is_control(id)) {
        ids_.push_back(id);
        continue;
      }
      const std::string_view text = state_.model->vocabulary().text(id);
      for (std::size_t i = 0; i < text.size();) {
        const std::size_t size = decode_utf8(text, i).size;
        characters_.clear();
        state_.model->encode(text.substr(i, size), false, scratch_, characters_);
        for (const std::int32_t one : characters_) {
          if (!is_control(one)) ids_.push_back(one);
        }
        i += size;
      }
    }
  }

  const TokenizerState& state_;
  bool guarded_ = false;  // the text at hand holds bytes that are not trusted
  std::size_t renormalized_ = 0;
  RegexScratch regex_;
  ModelScratch scratch_;
  std::vector<std::int32_t> characters_;
  std::vector<std::int32_t> ids_;
};

std::vector<std::int32_t> encode_text(const TokenizerState& state, std::string_view text,
                                      TrustedRanges trusted, bool add_special) {
  try {
    return Encoder(state).run(text, trusted, add_special);
  } catch (const std::bad_alloc&) {
    fail(ErrorKind::kOutOfMemory, "no memory to encode a text of {} bytes; split it", text.size());
  }
}

void check_size(std::size_t bytes) {
  if (bytes >= INT32_MAX) {
    fail(ErrorKind::kInvalidArgument, "text of {} bytes; at most {} can be encoded at once", bytes,
         INT32_MAX - 1);
  }
}

}  // namespace

Tokenizer::Tokenizer(std::shared_ptr<const TokenizerState> state) : state_(std::move(state)) {}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  check_size(text.size());
  const ByteRange whole{0, static_cast<std::uint32_t>(text.size())};
  return encode_text(*state_, text, {&whole, options.parse_special ? std::size_t{1} : 0},
                     options.add_special);
}

std::vector<std::int32_t> Tokenizer::encode_parts(std::span<const TextPart> parts,
                                                  bool add_special) const {
  std::string text;
  std::vector<ByteRange> trusted;
  for (const TextPart& part : parts) {
    if (part.text.empty()) continue;
    check_size(part.text.size());
    check_size(text.size() + part.text.size());
    const auto begin = static_cast<std::uint32_t>(text.size());
    text += part.text;
    const auto end = static_cast<std::uint32_t>(text.size());
    if (!part.parse_special) continue;
    if (!trusted.empty() && trusted.back().end == begin) {
      trusted.back().end = end;
    } else {
      trusted.push_back({begin, end});
    }
  }
  return encode_text(*state_, text, trusted, add_special);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::vector<std::int32_t> shown;
  shown.reserve(ids.size());
  for (const std::int32_t id : ids) {
    if (state_->shown(id, skip_special)) shown.push_back(id);
  }
  std::string text;
  const bool looks_ahead = state_->decoder.looks_ahead();
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const bool last = i + 1 == shown.size();
    if (i > 0) text += state_->decoder.separator;
    if (i == 0 || (last && looks_ahead)) {
      text += state_->decode_token(shown[i], i == 0, last);
    } else {
      text += state_->bytes_of(shown[i]);
    }
  }
  state_->decoder.apply_text_steps(text);
  return text;
}

std::int32_t Tokenizer::vocab_size() const { return state_->id_limit; }

std::string_view Tokenizer::token_text(std::int32_t id) const { return state_->spelling(id); }

std::string_view Tokenizer::token_bytes(std::int32_t id) const { return state_->bytes_of(id); }

std::optional<std::int32_t> Tokenizer::token_to_id(std::string_view token) const {
  if (const auto id = state_->added.find(token)) return id;
  return state_->model->vocabulary().find(token);
}

bool Tokenizer::is_special(std::int32_t id) const {
  const AddedToken* token = state_->added.token(id);
  return token != nullptr && state_->added.is_special(token->content);
}

}  // namespace conclave::text

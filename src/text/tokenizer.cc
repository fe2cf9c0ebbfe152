#include "text/tokenizer.h"

#include <new>
#include <utility>

#include "base/error.h"
#include "text/tokenizer_state.h"

namespace conclave::text {
namespace {

using detail::TokenizerState;

// One call of encode().
class Encoder {
 public:
  Encoder(const TokenizerState& state, EncodeOptions options) : state_(state), options_(options) {}

  std::vector<std::int32_t> run(std::string_view text) {
    const auto parts =
        state_.added.split(AddedTokens::Stage::kOriginal, text, options_.parse_special);
    for (const TextPart& part : parts) {
      if (part.id >= 0) {
        ids_.push_back(part.id);
      } else if (part.begin < part.end) {
        encode_original(text.substr(part.begin, part.end - part.begin), part.begin == 0);
      }
    }
    state_.post_processor.apply(options_.add_special, ids_);
    return std::move(ids_);
  }

 private:
  void encode_original(std::string_view part, bool at_start) {
    NormalText normal{std::string(part), at_start};
    if (state_.normalizer) state_.normalizer->apply(normal, regex_);
    check_piece_offsets(normal.text.size());
    const auto parts =
        state_.added.split(AddedTokens::Stage::kNormalized, normal.text, options_.parse_special);
    if (parts.size() == 1 && parts[0].id < 0) {
      encode_normalized(std::move(normal.text), normal.at_start);
      return;
    }
    for (const TextPart& inner : parts) {
      if (inner.id >= 0) {
        ids_.push_back(inner.id);
      } else {
        encode_normalized(normal.text.substr(inner.begin, inner.end - inner.begin),
                          normal.at_start && inner.begin == 0);
      }
    }
  }

  void encode_normalized(std::string text, bool at_start) {
    if (text.empty()) return;
    Pieces pieces;
    pieces.text = std::move(text);
    pieces.pieces = {{0, static_cast<std::uint32_t>(pieces.text.size()), at_start}};
    if (state_.pre_tokenizer) state_.pre_tokenizer->apply(pieces, regex_);
    for (const Piece& piece : pieces.pieces) {
      state_.model->encode(pieces.view(piece), pieces.byte_level, scratch_, ids_);
    }
  }

  const TokenizerState& state_;
  EncodeOptions options_;
  RegexScratch regex_;
  ModelScratch scratch_;
  std::vector<std::int32_t> ids_;
};

}  // namespace

Tokenizer::Tokenizer(std::shared_ptr<const TokenizerState> state) : state_(std::move(state)) {}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (text.size() >= INT32_MAX) {
    fail(ErrorKind::kInvalidArgument, "text of {} bytes; at most {} can be encoded at once",
         text.size(), INT32_MAX - 1);
  }
  try {
    return Encoder(*state_, options).run(text);
  } catch (const std::bad_alloc&) {
    fail(ErrorKind::kOutOfMemory, "no memory to encode a text of {} bytes; split it", text.size());
  }
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

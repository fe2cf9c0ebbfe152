#include "text/tokenizer_state.h"

#include <algorithm>

#include "base/error.h"

namespace conclave::text::detail {
namespace {

// What comes around a text is named by ids, which need not exist.
void check_ids(const PostProcessor& post_processor, std::int32_t id_limit) {
  for (const auto& parts : post_processor.templates) {
    for (const PostProcessor::Part& part : parts) {
      for (const std::int32_t id : part.ids) {
        if (id < id_limit) continue;
        fail(ErrorKind::kBadFile,
             "key 'post_processor': adds a token with id {}, but all ids are below {}", id,
             id_limit);
      }
    }
  }
}

}  // namespace

void TokenizerState::finish() {
  id_limit = std::max(model->vocabulary().id_limit(), added.id_limit());
  check_ids(post_processor, id_limit);
  byte_offsets.reserve(static_cast<std::size_t>(id_limit) + 1);
  byte_offsets.push_back(0);
  control.assign(static_cast<std::size_t>(id_limit), false);
  for (std::int32_t id = 0; id < id_limit; ++id) {
    if (exists(id)) bytes += decode_token(id, false, false);
    byte_offsets.push_back(bytes.size());
    const AddedToken* token = added.token(id);
    control[static_cast<std::size_t>(id)] =
        token != nullptr && added.is_special(token->content) && model->unknown_id() != id;
  }
}

bool TokenizerState::exists(std::int32_t id) const {
  return model->vocabulary().has(id) || added.token(id) != nullptr;
}

std::string_view TokenizerState::spelling(std::int32_t id) const {
  if (const AddedToken* token = added.token(id)) return token->content;
  return model->vocabulary().text(id);
}

std::string_view TokenizerState::bytes_of(std::int32_t id) const {
  if (id < 0 || id >= id_limit) return {};
  const auto index = static_cast<std::size_t>(id);
  return std::string_view(bytes).substr(byte_offsets[index],
                                        byte_offsets[index + 1] - byte_offsets[index]);
}

std::string TokenizerState::decode_token(std::int32_t id, bool first, bool last) const {
  TokenText token{std::string(spelling(id)), first, last, added.token(id) != nullptr};
  decoder.apply_token_steps(token);
  return std::move(token.text);
}

bool TokenizerState::shown(std::int32_t id, bool skip_special) const {
  return exists(id) && !(skip_special && added.is_special(spelling(id)));
}

}  // namespace conclave::text::detail

// What a Tokenizer is made of; shared by all its copies, never changed after loading.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace conclave::text::detail {

struct TokenizerState {
  std::unique_ptr<Normalizer> normalizer;       // may be null
  std::unique_ptr<PreTokenizer> pre_tokenizer;  // may be null
  std::unique_ptr<Model> model;
  AddedTokens added;
  PostProcessor post_processor;
  Decoder decoder;
  std::int32_t id_limit = 0;  // largest id + 1
  // Ids of special tokens, but for the unknown token: what text that is not trusted never becomes.
  std::vector<bool> control;

  // Bytes of each id inside a text (neither first nor last), one after the other.
  std::string bytes;
  std::vector<std::uint64_t> byte_offsets;  // id_limit + 1

  // Call once everything above `id_limit` is set.
  void finish();

  bool exists(std::int32_t id) const;
  std::string_view spelling(std::int32_t id) const;
  std::string_view bytes_of(std::int32_t id) const;
  // The token's text by the decoder's steps for tokens.
  std::string decode_token(std::int32_t id, bool first, bool last) const;
  bool shown(std::int32_t id, bool skip_special) const;
};

}  // namespace conclave::text::detail

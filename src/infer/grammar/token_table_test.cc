#include "infer/grammar/token_table.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "infer/grammar/builder.h"
#include "infer/grammar/compile.h"

namespace conclave::infer::grammar {
namespace {

const std::string kTokenizers = CONCLAVE_SOURCE_DIR "/tests/goldens/tokenizers/";

// What a grammar takes for a text is what a decoder makes of the tokens, also at the beginning.
TEST(TokenTable, BytesAreWhatTheDecoderGives) {
  for (const char* file : {"hf_unigram.tokenizer.json", "sp_bpe.model", "sp_unigram_bytes.model"}) {
    const auto tokenizer = text::Tokenizer::load(kTokenizers + file);
    const std::vector<std::int32_t> ends = {2};
    const TokenTable table(tokenizer, ends, tokenizer.vocab_size());
    int stripped = 0;
    for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      if (tokenizer.is_special(id) || id == 2 || table.bytes(id, false).empty()) continue;
      stripped += table.bytes(id, true) != table.bytes(id, false);
      const std::int32_t pair[] = {id, (id * 7 + 11) % tokenizer.vocab_size()};
      const std::string& second = table.bytes(pair[1], false);
      if (tokenizer.is_special(pair[1]) || second.empty() || second.front() < 0 ||
          table.bytes(id, true).empty() || table.bytes(id, true).front() < 0) {
        continue;  // parts of characters are replaced in a decoded text
      }
      EXPECT_EQ(tokenizer.decode(pair), table.bytes(id, true) + second) << file << " " << id;
    }
    // The last one adds no space in front, so nothing is to be taken off.
    EXPECT_EQ(stripped > 0, std::string(file) != "sp_unigram_bytes.model") << file;
    EXPECT_TRUE(table.bytes(2, false).empty());
    EXPECT_TRUE(table.is_end(2));
    EXPECT_FALSE(table.is_end(3));
  }
}

// The second answer meets what the first one found out.
TEST(TokenTable, WhatNoTokenCanSayIsToldToEveryone) {
  const auto tokenizer = text::Tokenizer::load(kTokenizers + "hf_unigram.tokenizer.json");
  const auto tokens =
      std::make_shared<TokenTable>(tokenizer, std::vector<std::int32_t>{}, tokenizer.vocab_size());
  const ConstraintPtr z = constrain_to_grammar("root ::= \"z\"", tokens);
  const ConstraintPtr az = constrain_to_grammar("root ::= \"a\" \"z\"", tokens);
  for (int i = 0; i < 2; ++i) {
    ConstraintState first(z), second(az);
    EXPECT_THROW(first.mask(), Error);
    ASSERT_TRUE(second.mask()->has(3));
    second.accept(3);  // "a"
    EXPECT_THROW(second.mask(), Error);
    EXPECT_THROW(second.mask(), Error);
  }
}

TEST(TokenTable, TextWithMoreThanTokensIsRefused) {
  const auto tokenizer = text::Tokenizer::load(kTokenizers + "hf_word_level.tokenizer.json");
  try {
    const TokenTable table(tokenizer, {}, tokenizer.vocab_size());
    for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      const std::int32_t pair[] = {id, id};
      EXPECT_EQ(tokenizer.decode(pair), table.bytes(id, true) + table.bytes(id, false));
    }
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
  }
}

}  // namespace
}  // namespace conclave::infer::grammar

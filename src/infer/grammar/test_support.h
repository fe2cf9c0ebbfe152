// For tests of grammars: a tokenizer of bytes and pieces, acceptance of whole texts, and random
// answers that a constraint allows.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "infer/grammar/compile.h"
#include "text/tokenizer_test_support.h"

namespace conclave::infer::grammar::test {

inline constexpr std::int32_t kEnd = 300, kMarker = 301;

// 256 bytes, pieces that span several symbols of JSON or break characters, two special tokens.
inline std::shared_ptr<const TokenTable> test_tokens() {
  using text::append_alphabet;
  auto file = text::test::byte_level_file();
  const char* const pieces[] = {"{\"",      "\":",      "\": ",     "\", \"", "\"}",          "}}",
                                "]}",       "\": [",    "\":\"",    "[{\"",   "},",           "  ",
                                "\n  ",     "true",     "false",    "null",   "name",         "12",
                                "0.5",      "-1",       "\\\"",     "\\u00",  "a\"",          "abc",
                                "\xe2\x82", "\x82\xac", "\x80\xe2", "\xa9\"", "\xf0\x9f\x98", "},{",
                                "e+",       "2024-",    "\"\"",     "{}"};
  int id = 256;
  for (const char* piece : pieces) {
    std::string spelling;
    append_alphabet(spelling, piece);
    file["model"]["vocab"][spelling] = id++;
  }
  for (; id < kEnd; ++id) file["model"]["vocab"]["fill" + std::to_string(id)] = id;
  file["added_tokens"].push_back(text::test::added_token(kEnd, "<end>", true));
  file["added_tokens"].push_back(text::test::added_token(kMarker, "<mark>", true));
  const auto tokenizer = text::test::load_json(file);
  const std::int32_t ends[] = {kEnd};
  return std::make_shared<TokenTable>(tokenizer, ends, tokenizer.vocab_size());
}

// Whether a grammar takes exactly this text.
class Acceptor {
 public:
  Acceptor(const Builder& builder, RuleId root) : program_(builder, root), machine_(program_) {}

  bool operator()(std::string_view text) {
    Machine::ConfigId at = machine_.start();
    for (const char byte : text) {
      machine_.reset_work();
      if (at != Machine::kDead) at = machine_.step(at, static_cast<unsigned char>(byte));
    }
    return at != Machine::kDead && machine_.may_end(at);
  }
  Machine& machine() { return machine_; }

 private:
  Program program_;
  Machine machine_;
};

// A random answer: uniform over the mask, from some length on towards closing what is open. Every
// mask is compared with what each token's bytes do.
inline std::string random_answer(const ConstraintPtr& constraint, std::mt19937& rng,
                                 bool check_mask, int patience = 60) {
  ConstraintState state(constraint);
  const TokenTable& tokens = constraint->tokens();
  std::string text;
  for (int i = 0; i < 3000 && !state.must_end(); ++i) {
    const auto mask = state.mask();
    std::vector<std::int32_t> allowed;
    for (std::int32_t id = 0; id < tokens.vocab_size(); ++id) {
      if (mask->has(id)) allowed.push_back(id);
    }
    if (check_mask && i < 20) {
      for (std::int32_t id = 0; id < tokens.vocab_size(); ++id) {
        bool fits = !tokens.bytes(id, i == 0).empty();
        try {
          ConstraintState(state).accept(id);
        } catch (const std::exception&) {
          fits = false;
        }
        if (id == kEnd) fits = state.may_end();
        EXPECT_EQ(mask->has(id), fits) << "token " << id << " after " << text;
      }
    }
    std::int32_t id = allowed[rng() % allowed.size()];
    if (i > patience && rng() % 2 == 0) {
      for (const char* wanted : {"\"", "}", "]", ","}) {
        const auto byte = static_cast<std::int32_t>(static_cast<unsigned char>(wanted[0]));
        if (mask->has(byte)) {
          id = byte;
          break;
        }
      }
      if (mask->has(kEnd)) id = kEnd;
    }
    if (id == kEnd) break;
    text += tokens.bytes(id, i == 0);
    state.accept(id);
  }
  EXPECT_TRUE(state.may_end()) << text;
  return text;
}

}  // namespace conclave::infer::grammar::test

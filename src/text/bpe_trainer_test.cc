#include "text/bpe_trainer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/rng.h"
#include "sys/files.h"
#include "text/tokenizer.h"

namespace conclave::text {
namespace {

using Texts = std::vector<std::string_view>;

BpeTrainerOptions small(std::int32_t vocab_size) {
  BpeTrainerOptions options;
  options.vocab_size = vocab_size;
  options.min_frequency = 2;
  return options;
}

std::vector<std::string> merged(const BpeVocabulary& vocabulary) {
  const std::size_t first = vocabulary.options.special_tokens.size() + 256;
  return {vocabulary.tokens.begin() + static_cast<std::ptrdiff_t>(first), vocabulary.tokens.end()};
}

// Text in a made-up language with words of very different frequency.
std::string made_up_text(std::size_t words) {
  const Rng rng(17);
  std::string text;
  for (std::size_t i = 0; i < words; ++i) {
    std::uint64_t word = rng.below(2 * i, 1 + rng.below(2 * i + 1, 400));
    text += i % 11 == 0 ? '\n' : ' ';
    do {
      text += static_cast<char>('a' + word % 13);
      word /= 5;
    } while (word > 0);
    if (i % 17 == 0) text += "\xe6\xbc\xa2\xe5\xad\x97";
    if (i % 23 == 0) text += " 1984,";
  }
  return text;
}

TEST(BpeTrainer, MergesWhatIsFrequent) {
  // "ab" 4 times, "abc" twice: counts (a,b) 4, (b,c) 2; then (ab,c) 2.
  const Texts texts{"ab\nab\nabc\nabc\nq"};
  const BpeVocabulary vocabulary = train_bpe(texts, small(300));
  EXPECT_EQ(merged(vocabulary), (std::vector<std::string>{"ab", "abc"}));
  EXPECT_EQ(vocabulary.tokens[0], "<|endoftext|>");
  EXPECT_EQ(vocabulary.tokens.size(), 259u);
  EXPECT_EQ(vocabulary.merges.size(), 2u);
}

TEST(BpeTrainer, StopsAtTheSizeAskedFor) {
  const std::string text = made_up_text(3000);
  const Texts texts{text};
  EXPECT_EQ(train_bpe(texts, small(300)).tokens.size(), 300u);
  EXPECT_EQ(train_bpe(texts, small(257)).tokens.size(), 257u);
  EXPECT_EQ(train_bpe(Texts{}, small(300)).tokens.size(), 257u);
}

TEST(BpeTrainer, ThreadsChangeNothing) {
  const std::string text = made_up_text(200'000);
  const std::string more = made_up_text(1000);
  const Texts texts{text, more, ""};
  BpeTrainerOptions options = small(600);
  const std::string one = to_tokenizer_json(train_bpe(texts, options));
  for (const int threads : {2, 3, 7}) {
    options.threads = threads;
    EXPECT_EQ(to_tokenizer_json(train_bpe(texts, options)), one) << threads;
  }
}

// Counting everything anew after each merge must find the same merges.
TEST(BpeTrainer, IncrementalCountsAreTrueCounts) {
  std::string text;
  const Rng rng(23);
  for (std::uint64_t i = 0; i < 4000; ++i) {
    text += "aab"[rng.below(2 * i, 3)];
    if (rng.below(2 * i + 1, 8) == 0) text += '\n';
  }
  BpeTrainerOptions options = small(300);
  options.max_token_bytes = 1000;
  const BpeVocabulary vocabulary = train_bpe(Texts{text}, options);
  std::vector<std::vector<std::int32_t>> words(1);
  const auto id_of = [&](char c) {
    const auto at =
        std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), std::string(1, c));
    return static_cast<std::int32_t>(at - vocabulary.tokens.begin());
  };
  for (const char c : text) {
    if (c == '\n') {
      words.emplace_back();
    } else {
      words.back().push_back(id_of(c));
    }
  }
  auto next = static_cast<std::int32_t>(257);
  for (const auto& merge : vocabulary.merges) {
    std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t> counts;
    for (const auto& word : words) {
      for (std::size_t i = 0; i + 1 < word.size(); ++i) ++counts[{word[i], word[i + 1]}];
    }
    auto best = counts.begin();
    for (auto at = counts.begin(); at != counts.end(); ++at) {
      if (at->second > best->second) best = at;
    }
    ASSERT_EQ(merge, best->first) << "merge " << next - 257;
    for (auto& word : words) {
      std::vector<std::int32_t> out;
      for (std::size_t i = 0; i < word.size(); ++i) {
        if (i + 1 < word.size() && word[i] == merge.first && word[i + 1] == merge.second) {
          out.push_back(next);
          ++i;
        } else {
          out.push_back(word[i]);
        }
      }
      word = out;
    }
    ++next;
  }
  EXPECT_GT(vocabulary.merges.size(), 20u);
}

TEST(BpeTrainer, WhatItWritesLoadsAndGivesTextBack) {
  const std::string text = made_up_text(20'000);
  for (const auto style : {PreTokenizerStyle::kGpt2, PreTokenizerStyle::kGpt4}) {
    for (const bool split_digits : {false, true}) {
      BpeTrainerOptions options = small(700);
      options.style = style;
      options.split_digits = split_digits;
      options.special_tokens = {"<|endoftext|>", "<|im_start|>", "\"quoted\\\n\""};
      const BpeVocabulary vocabulary = train_bpe(Texts{text}, options);
      const Tokenizer tokenizer = Tokenizer::from_json_text(to_tokenizer_json(vocabulary));
      EXPECT_EQ(tokenizer.vocab_size(), 700);
      for (std::int32_t id = 0; id < 700; ++id) {
        EXPECT_EQ(tokenizer.token_bytes(id), vocabulary.tokens[static_cast<std::size_t>(id)]);
        EXPECT_EQ(tokenizer.is_special(id), id < 3);
      }
      const auto ids = tokenizer.encode(text);
      EXPECT_LT(ids.size(), text.size() / 2);
      EXPECT_EQ(tokenizer.decode(ids), text);
      const auto year = tokenizer.encode("1984");
      EXPECT_EQ(year.size() == 4, split_digits);
    }
  }
}

TEST(BpeTrainer, NoWordBecomesASpecialToken) {
  const std::string text = "abab abab abab abab";
  BpeTrainerOptions options = small(300);
  options.special_tokens = {"ab"};
  const BpeVocabulary vocabulary = train_bpe(Texts{text}, options);
  for (const std::string& token : merged(vocabulary)) EXPECT_NE(token, "ab");
  const Tokenizer tokenizer = Tokenizer::from_json_text(to_tokenizer_json(vocabulary));
  for (const std::int32_t id : tokenizer.encode(text)) EXPECT_NE(id, 0);
}

TEST(BpeTrainer, KeepsTokensShort) {
  const std::string text(10'000, 'a');
  BpeTrainerOptions options = small(400);
  options.max_token_bytes = 6;
  for (const std::string& token : merged(train_bpe(Texts{text}, options))) {
    EXPECT_LE(token.size(), 6u);
  }
}

TEST(BpeTrainer, TakesASample) {
  std::string text = made_up_text(300'000);
  text += std::string(500'000, '\n');
  BpeTrainerOptions options = small(400);
  options.sample_bytes = 100'000;
  std::int64_t total = 0;
  const auto vocabulary = train_bpe(Texts{text}, options, [&](const BpeTrainerProgress& progress) {
    if (progress.stage == BpeTrainerProgress::Stage::kCounting) total = progress.total;
    return true;
  });
  EXPECT_GT(total, 50'000);
  EXPECT_LT(total, 200'000);
  EXPECT_GT(vocabulary.merges.size(), 50u);
}

TEST(BpeTrainer, CanBeStopped) {
  const std::string text = made_up_text(5000);
  for (const auto stage :
       {BpeTrainerProgress::Stage::kCounting, BpeTrainerProgress::Stage::kMerging}) {
    try {
      train_bpe(Texts{text}, small(600),
                [&](const BpeTrainerProgress& progress) { return progress.stage != stage; });
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInterrupted);
    }
  }
}

TEST(BpeTrainer, RefusesOptionsThatCannotBeMet) {
  const auto refused = [](const std::function<void(BpeTrainerOptions&)>& change) {
    BpeTrainerOptions options = small(300);
    change(options);
    try {
      train_bpe(Texts{"ab"}, options);
      return false;
    } catch (const Error& error) {
      return error.kind() == ErrorKind::kInvalidArgument;
    }
  };
  EXPECT_FALSE(refused([](BpeTrainerOptions&) {}));
  EXPECT_TRUE(refused([](BpeTrainerOptions& o) { o.vocab_size = 256; }));
  EXPECT_TRUE(refused([](BpeTrainerOptions& o) { o.vocab_size = -1; }));
  EXPECT_TRUE(refused([](BpeTrainerOptions& o) { o.vocab_size = 1 << 30; }));
  EXPECT_TRUE(refused([](BpeTrainerOptions& o) { o.special_tokens = {"x1", "x1"}; }));
  EXPECT_TRUE(refused([](BpeTrainerOptions& o) { o.special_tokens = {""}; }));
  EXPECT_TRUE(refused([](BpeTrainerOptions& o) { o.special_tokens = {"a"}; }));
  EXPECT_TRUE(refused([](BpeTrainerOptions& o) { o.special_tokens = {"\xff"}; }));
  EXPECT_TRUE(refused([](BpeTrainerOptions& o) { o.max_token_bytes = 1; }));
  EXPECT_TRUE(refused([](BpeTrainerOptions& o) { o.threads = 0; }));
}

TEST(BpeTrainer, AnyBytesMayBeTrainedOn) {
  std::string text;
  const Rng rng(31);
  for (std::uint64_t i = 0; i < 100'000; ++i) text += static_cast<char>(rng.below(i, 256));
  const BpeVocabulary vocabulary = train_bpe(Texts{text, text}, small(400));
  const Tokenizer tokenizer = Tokenizer::from_json_text(to_tokenizer_json(vocabulary));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
}

TEST(BpeTrainer, WritesTheFileInOneStep) {
  const std::string directory = testing::TempDir() + "conclave_bpe_trainer";
  sys::make_directories(directory);
  const BpeVocabulary vocabulary = train_bpe(Texts{"ab ab"}, small(300));
  const std::string path = sys::join_path(directory, "tokenizer.json");
  write_tokenizer_json(vocabulary, path);
  EXPECT_EQ(sys::read_file(path, 1 << 20), to_tokenizer_json(vocabulary));
  EXPECT_EQ(sys::list_directory(directory), std::vector<std::string>{"tokenizer.json"});
  EXPECT_EQ(Tokenizer::load(directory).vocab_size(), Tokenizer::load(path).vocab_size());
  EXPECT_THROW(write_tokenizer_json(vocabulary, directory + "/no/such/place.json"), Error);
  EXPECT_THROW(Tokenizer::load(directory + "/none"), Error);
}

}  // namespace
}  // namespace conclave::text

// Sessions on small checkpoints: what is kept of a context changes the time, never the answer.
#include "infer/session.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace conclave::infer {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<std::int32_t>;

// A checkpoint of the goldens with a tokenizer of bytes, so that it takes text.
class Model {
 public:
  explicit Model(const std::string& name)
      : path_(fs::temp_directory_path() /
              ("conclave-session-" + name + std::to_string(::getpid()))) {
    fs::create_directories(path_);
    const fs::path from = fs::path(CONCLAVE_SOURCE_DIR) / "tests/goldens";
    fs::copy(from / "models" / name, path_, fs::copy_options::recursive);
    fs::copy_file(from / "tokenizers/hf_word_level.tokenizer.json", path_ / "tokenizer.json");
  }
  ~Model() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

Ids prompt(int n, int seed) {
  Ids ids;
  for (int i = 0; i < n; ++i) ids.push_back((i * i * 7 + i * seed + 3) % 60);
  return ids;
}

GenerateOptions options(std::int64_t tokens) {
  GenerateOptions o;
  o.max_tokens = tokens;
  o.ignore_eos = true;
  o.logprobs = 3;
  return o;
}

void expect_same(const Generation& a, const Generation& b) {
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.text, b.text);
  ASSERT_EQ(a.logprobs.size(), b.logprobs.size());
  for (std::size_t i = 0; i < a.logprobs.size(); ++i) {
    EXPECT_EQ(a.logprobs[i].chosen.logprob, b.logprobs[i].chosen.logprob) << "token " << i;
  }
}

class SessionTest : public ::testing::TestWithParam<const char*> {};

TEST_P(SessionTest, AKeptContextGivesTheSameBits) {
  const Model model(GetParam());
  ops::Context context(2);
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    Session fresh(context, model.path(), compute), kept(context, model.path(), compute);
    kept.keep_context(60);
    Ids ids = prompt(20, 5);
    for (int turn = 0; turn < 3; ++turn) {  // each goes on from the last answer
      const Generation a = kept.generate(ids, options(6), {});
      expect_same(a, fresh.generate(ids, options(6), {}));
      EXPECT_EQ(a.reused_tokens, turn == 0 ? 0 : static_cast<std::int64_t>(ids.size()) - 10);
      ids.insert(ids.end(), a.ids.begin(), a.ids.end());
      for (const std::int32_t id : prompt(9, turn)) ids.push_back(id);
    }
    Ids other = ids;  // the same beginning, then something else
    other.resize(25);
    other[12] = (other[12] + 1) % 60;
    const Generation branch = kept.generate(other, options(6), {});
    EXPECT_EQ(branch.reused_tokens, 12);
    expect_same(branch, fresh.generate(other, options(6), {}));
    const Generation again = kept.generate(other, options(6), {});  // /retry
    EXPECT_EQ(again.reused_tokens, 24);
    expect_same(again, branch);
  }
}

TEST_P(SessionTest, ChunksOfThePromptDoNotChangeTheAnswer) {
  const Model model(GetParam());
  ops::Context context(2);
  Session session(context, model.path(), DType::kF32);
  const Ids ids = prompt(37, 11);
  const Generation whole = session.generate(ids, options(5), {});
  for (const std::int64_t chunk : {1, 2, 16, 36, 37}) {
    GenerateOptions o = options(5);
    o.prefill_chunk = chunk;
    expect_same(session.generate(ids, o, {}), whole);
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, SessionTest,
                         ::testing::Values("mixtral", "gpt_oss", "deepseek_v3"),
                         [](const auto& name) { return std::string(name.param); });

TEST(Session, AnAnswerThatWasStoppedLeavesAContextThatCanBeGoneOnFrom) {
  const Model model("mixtral");
  ops::Context context(1);
  Session fresh(context, model.path(), DType::kF32), kept(context, model.path(), DType::kF32);
  kept.keep_context(64);
  int pieces = 0;
  const Ids ids = prompt(10, 3);
  const Generation cut =
      kept.generate(ids, options(20), [&](const std::string&) { return ++pieces < 3; });
  EXPECT_EQ(cut.finish, FinishReason::kCancelled);
  EXPECT_LT(cut.ids.size(), 20u);
  expect_same(kept.generate(ids, options(20), {}), fresh.generate(ids, options(20), {}));
}

TEST(Session, LimitsAreNamed) {
  const Model model("mixtral");  // a context of 128
  ops::Context context(1);
  Session session(context, model.path(), DType::kF32);
  EXPECT_THROW(session.keep_context(0), Error);
  EXPECT_THROW(session.keep_context(129), Error);
  EXPECT_THROW(session.generate(prompt(129, 1), options(1), {}), Error);
  EXPECT_THROW(session.generate(Ids(), options(1), {}), Error);
  EXPECT_THROW(session.generate(Ids{97}, options(1), {}), Error);
  GenerateOptions o = options(1);
  o.sampling.logit_bias[97] = 1;
  EXPECT_THROW(session.generate(prompt(3, 1), o, {}), Error);
  const Generation full = session.generate(prompt(120, 1), options(100), {});
  EXPECT_EQ(full.ids.size(), 8u);
  EXPECT_EQ(full.finish, FinishReason::kLength);
}

}  // namespace
}  // namespace conclave::infer

// Who is let into the queue, and in which order the queue is served.

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "serve/engine.h"

namespace conclave::serve {
namespace {

constexpr const char* kGoldens = CONCLAVE_SOURCE_DIR "/tests/goldens/";

// Ends of sequences in their order; the first event of "hold" keeps the engine's thread.
class Ends {
 public:
  SequenceRequest request(const std::string& client, const std::string& name, int prompt,
                          std::int64_t max_tokens) {
    SequenceRequest r;
    r.client = client;
    r.prompt.assign(static_cast<std::size_t>(prompt), 3);
    r.max_tokens = max_tokens;
    r.ignore_eos = true;
    r.on_event = [this, name](Event&& event) {
      std::unique_lock lock(mutex_);
      if (name == "hold" && event.id >= 0) {
        held_ = true;
        changed_.notify_all();
        changed_.wait(lock, [this] { return released_; });
      }
      if (event.end != EndReason::kNone) order_ += name;
      changed_.notify_all();
    };
    return r;
  }
  void wait_until_held() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return held_; });
  }
  void release() {
    const std::lock_guard lock(mutex_);
    released_ = true;
    changed_.notify_all();
  }
  std::string wait_for(std::size_t length) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(
        changed_.wait_for(lock, std::chrono::seconds(60), [&] { return order_.size() >= length; }));
    return order_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string order_;
  bool held_ = false, released_ = false;
};

class EngineQueueTest : public testing::Test {
 protected:
  EngineQueueTest() : context_(2) {
    model_ = models::load_model(context_, std::string(kGoldens) + "models/olmoe", DType::kF32);
    model_.tokenizer =
        text::Tokenizer::load(std::string(kGoldens) + "tokenizers/hf_unigram.tokenizer.json");
    limits_.max_running = 1;
  }
  static Admission submit(Engine& engine, SequenceRequest request) {
    std::vector<SequenceRequest> list;
    list.push_back(std::move(request));
    return engine.submit(std::move(list));
  }

  ops::Context context_;
  models::LoadedModel model_;
  EngineLimits limits_;
  Ends ends_;
};

TEST_F(EngineQueueTest, ClientsTakeTurns) {
  Engine engine(context_, model_, limits_);
  submit(engine, ends_.request("x", "hold", 2, 1));
  ends_.wait_until_held();
  for (int i = 0; i < 4; ++i) submit(engine, ends_.request("flood", "f", 8, 2));
  for (int i = 0; i < 2; ++i) submit(engine, ends_.request("late", "l", 8, 2));
  ends_.release();
  EXPECT_EQ(ends_.wait_for(10), "holdflflff");
}

TEST_F(EngineQueueTest, LongAnswersCountForTheirClient) {
  Engine engine(context_, model_, limits_);
  submit(engine, ends_.request("x", "hold", 2, 1));
  ends_.wait_until_held();
  for (int i = 0; i < 3; ++i) submit(engine, ends_.request("long", "L", 1, 12));
  for (int i = 0; i < 7; ++i) submit(engine, ends_.request("short", "s", 1, 2));
  ends_.release();
  // One of 1 + 2 * 12 weighs as much as five of 1 + 2 * 2.
  EXPECT_EQ(ends_.wait_for(14), "holdLsssssLssL");
}

TEST_F(EngineQueueTest, OneClientLeavesRoomForOthers) {
  limits_.max_queued = 18;
  Engine engine(context_, model_, limits_);
  submit(engine, ends_.request("x", "hold", 2, 1));
  ends_.wait_until_held();
  int accepted = 0;
  while (submit(engine, ends_.request("flood", "f", 1, 1)) == Admission::kAccepted) ++accepted;
  EXPECT_EQ(accepted, 16);  // 16 = 8 times the two places that are left
  EXPECT_EQ(engine.admission("flood"), Admission::kClientShare);
  EXPECT_EQ(engine.admission("other"), Admission::kAccepted);
  EXPECT_EQ(submit(engine, ends_.request("other", "z", 1, 1)), Admission::kAccepted);
  ends_.release();
  const std::string order = ends_.wait_for(21);
  EXPECT_LE(order.find('z'), 6u) << order;
}

TEST_F(EngineQueueTest, TokensThatAClientMayHaveWaiting) {
  limits_.client_queued_tokens = 10;
  Engine engine(context_, model_, limits_);
  submit(engine, ends_.request("x", "hold", 2, 1));
  ends_.wait_until_held();
  EXPECT_EQ(submit(engine, ends_.request("a", "a", 8, 1)), Admission::kAccepted);
  EXPECT_EQ(submit(engine, ends_.request("a", "a", 3, 1)), Admission::kClientTokens);
  EXPECT_EQ(engine.admission("a"), Admission::kAccepted);
  EXPECT_EQ(submit(engine, ends_.request("a", "a", 2, 1)), Admission::kAccepted);
  EXPECT_EQ(engine.admission("a"), Admission::kClientTokens);
  EXPECT_EQ(submit(engine, ends_.request("b", "b", 10, 1)), Admission::kAccepted);
  ends_.release();
  ends_.wait_for(7);
  EXPECT_EQ(engine.admission("a"), Admission::kAccepted);
}

}  // namespace
}  // namespace conclave::serve

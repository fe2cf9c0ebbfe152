#include "serve/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "base/error.h"
#include "infer/grammar/compile.h"
#include "sys/testing.h"

namespace conclave::serve {
namespace {

constexpr const char* kGoldens = CONCLAVE_SOURCE_DIR "/tests/goldens/";

struct Result {
  std::vector<std::int32_t> ids;
  std::string text;
  std::vector<TokenRouting> routing;
  std::vector<double> logprobs;
  std::vector<float> embedding;
  EndReason end = EndReason::kNone;
  std::string error;
};

// A request whose events are collected, and the wait for its end.
class Collector {
 public:
  SequenceRequest request(std::vector<std::int32_t> prompt, std::int64_t max_tokens,
                          std::uint64_t seed) {
    SequenceRequest r;
    r.prompt = std::move(prompt);
    r.max_tokens = max_tokens;
    r.sampling.temperature = 1.5;
    r.sampling.top_k = 0;
    r.sampling.top_p = 1;
    r.sampling.seed = seed;
    r.ignore_eos = true;
    r.routing = true;
    r.logprobs = 0;
    r.cancelled = cancelled;
    r.on_event = [this](Event&& event) { on_event(std::move(event)); };
    return r;
  }
  Result wait() {
    auto future = done_.get_future();
    if (future.wait_for(std::chrono::seconds(60)) != std::future_status::ready) {
      ADD_FAILURE() << "the sequence does not end";
    }
    return result_;
  }

  CancelFlag cancelled = std::make_shared<std::atomic<bool>>(false);

 private:
  void on_event(Event&& event) {
    result_.text += event.text;
    if (event.id >= 0) {
      result_.ids.push_back(event.id);
      result_.routing.push_back(event.routing);
      if (event.logprobs) result_.logprobs.push_back(event.logprobs->chosen.logprob);
    }
    if (event.end != EndReason::kNone) {
      result_.end = event.end;
      result_.error = event.error;
      result_.embedding = event.embedding;
      done_.set_value();
    }
  }

  Result result_;
  std::promise<void> done_;
};

// Holds the engine's thread at a sequence's first event until it is opened.
class Gate {
 public:
  ~Gate() { open(); }
  SequenceRequest hold(SequenceRequest request) {
    request.on_event = [this, next = std::move(request.on_event)](Event&& event) {
      reached_.count_down();
      opened_.wait();
      next(std::move(event));
    };
    return request;
  }
  void wait() { reached_.wait(); }
  void open() {
    if (!std::exchange(open_, true)) opened_.count_down();
  }

 private:
  struct Latch {
    void count_down() { flag.test_and_set(), flag.notify_all(); }
    void wait() { flag.wait(false); }
    std::atomic_flag flag;
  };
  Latch reached_, opened_;
  bool open_ = false;
};

std::vector<std::int32_t> prompt_of(int length, int salt, int vocab) {
  std::vector<std::int32_t> ids;
  for (int i = 0; i < length; ++i) ids.push_back((i * 7 + salt * 13 + i * i * salt) % vocab);
  return ids;
}

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() : context_(2) { load(std::string(kGoldens) + "models/olmoe"); }
  void load(const std::string& directory) {
    model_ = models::load_model(context_, directory, DType::kF32);
    model_.tokenizer =
        text::Tokenizer::load(std::string(kGoldens) + "tokenizers/hf_unigram.tokenizer.json");
    vocab_ = model_.transformer->config().vocab_size;
  }
  EngineLimits limits_of(std::int64_t pages, std::int64_t prefill_chunk) const {
    EngineLimits limits;
    limits.kv_bytes = pages * model_.transformer->cache_bytes(1);
    limits.prefill_chunk = prefill_chunk;
    return limits;
  }
  // The same model for sequences of up to 512 tokens, which take several pages.
  void load_long() {
    namespace fs = std::filesystem;
    const fs::path source = std::string(kGoldens) + "models/olmoe";
    const testing::TempDir directory;
    fs::copy_file(source / "model.safetensors", directory / "model.safetensors");
    std::ifstream config(source / "config.json");
    std::string text((std::istreambuf_iterator<char>(config)), {});
    const std::string context = "\"max_position_embeddings\": 64";
    ASSERT_NE(text.find(context), std::string::npos);
    text.replace(text.find(context), context.size(), "\"max_position_embeddings\": 512");
    directory.put("config.json", text);
    load(directory.path());
  }
  std::vector<std::int32_t> prompt(int length, int salt) const {
    return prompt_of(length, salt, vocab_);
  }
  static Admission submit(Engine& engine, SequenceRequest request) {
    std::vector<SequenceRequest> list;
    list.push_back(std::move(request));
    return engine.submit(std::move(list));
  }

  ops::Context context_;
  models::LoadedModel model_;
  int vocab_ = 0;
};

bool operator==(const TokenRouting& a, const TokenRouting& b) {
  return a.experts == b.experts && a.weights == b.weights;
}

void expect_same(const Result& a, const Result& b) {
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.text, b.text);
  EXPECT_EQ(a.logprobs, b.logprobs);  // the same bits
  ASSERT_EQ(a.routing.size(), b.routing.size());
  for (std::size_t i = 0; i < a.routing.size(); ++i) EXPECT_TRUE(a.routing[i] == b.routing[i]);
}

TEST_F(EngineTest, TextIsTheSameAloneInCompanyAndWithoutTheEngine) {
  constexpr int kMany = 9;
  std::vector<Result> alone;
  for (int i = 0; i < kMany; ++i) {
    EngineLimits limits;
    Engine engine(context_, model_, limits);
    Collector c;
    ASSERT_EQ(submit(engine, c.request(prompt(1 + 5 * i, i), 10 + i, 100 + i)),
              Admission::kAccepted);
    alone.push_back(c.wait());
    EXPECT_EQ(alone.back().end, EndReason::kLength);
    EXPECT_EQ(alone.back().ids.size(), static_cast<std::size_t>(10 + i));
    ASSERT_FALSE(alone.back().routing.empty());
    EXPECT_FALSE(alone.back().routing[0].experts.empty());
  }
  // Few places and small chunks of prompt: sequences wait, start and end at different steps.
  for (const std::int64_t chunk : {3, 16}) {
    EngineLimits limits;
    limits.max_running = 4;
    limits.prefill_chunk = chunk;
    Engine engine(context_, model_, limits);
    std::vector<std::unique_ptr<Collector>> collectors;
    for (int i = 0; i < kMany; ++i) {
      collectors.push_back(std::make_unique<Collector>());
      ASSERT_EQ(submit(engine, collectors.back()->request(prompt(1 + 5 * i, i), 10 + i, 100 + i)),
                Admission::kAccepted);
    }
    for (int i = 0; i < kMany; ++i) expect_same(collectors[i]->wait(), alone[i]);
  }
  const infer::SamplingOptions sampling = Collector().request({0}, 1, 105).sampling;
  // The same prompt without the engine: full prompt in one pass, then one token at a time.
  nn::Activations activations;
  const auto cache = model_.transformer->new_cache(26 + 15);
  std::vector<std::int32_t> ids = prompt(26, 5);
  std::vector<float> logits(static_cast<std::size_t>(vocab_));
  std::int64_t at = 0;
  std::vector<std::int32_t> answer;
  while (answer.size() < 15) {
    nn::Batch batch;
    batch.ids_T = std::span<const std::int32_t>(ids).subspan(static_cast<std::size_t>(at));
    batch.chunks.push_back({cache.get(), 0, batch.n_tokens(), at});
    model_.transformer->forward(context_, batch, {}, activations);
    at += batch.n_tokens();
    const auto hidden = activations.out.view();
    model_.transformer->logits(context_, hidden.rows_range(hidden.rows - 1, 1),
                               MatrixView<float>(logits.data(), 1, vocab_));
    answer.push_back(infer::sample(logits, sampling, ids, answer.size()));
    ids.push_back(answer.back());
  }
  EXPECT_EQ(answer, alone[5].ids);
}

TEST_F(EngineTest, ACancelledSequenceLeavesBeforeTheNextStepAndTheOthersDoNotNotice) {
  Collector alone, stays, leaves;
  Result expected;
  {
    Engine engine(context_, model_, {});
    submit(engine, alone.request(prompt(20, 1), 30, 7));
    expected = alone.wait();
  }
  Engine engine(context_, model_, {});
  SequenceRequest request = leaves.request(prompt(4, 2), 40, 8);
  request.on_event = [&, next = std::move(request.on_event)](Event&& event) {
    *leaves.cancelled = true;
    next(std::move(event));
  };
  std::vector<SequenceRequest> both;
  both.push_back(std::move(request));
  both.push_back(stays.request(prompt(20, 1), 30, 7));
  EXPECT_EQ(engine.submit(std::move(both)), Admission::kAccepted);
  const Result left = leaves.wait();
  EXPECT_EQ(left.end, EndReason::kCancelled);
  EXPECT_EQ(left.ids.size(), 1u);
  expect_same(stays.wait(), expected);
  while (!engine.idle()) std::this_thread::yield();
  EXPECT_EQ(engine.status().cancelled, 1);
  EXPECT_EQ(engine.status().finished, 1);
}

TEST_F(EngineTest, WhoWaitsInTheQueueCanLeaveItAndItsDeadlineCounts) {
  EngineLimits limits;
  limits.max_running = 1;
  Engine engine(context_, model_, limits);
  Collector runs, leaves, late;
  Gate gate;
  submit(engine, gate.hold(runs.request(prompt(4, 2), 50, 8)));
  gate.wait();
  SequenceRequest request = late.request(prompt(4, 2), 50, 8);
  request.deadline = Clock::now();
  submit(engine, leaves.request(prompt(4, 2), 50, 8));
  submit(engine, std::move(request));
  EXPECT_EQ(engine.status().queued, 2);
  EXPECT_EQ(engine.status().queued_tokens, 8);
  *leaves.cancelled = true;
  gate.open();
  const Result left = leaves.wait();
  EXPECT_EQ(left.end, EndReason::kCancelled);
  EXPECT_TRUE(left.ids.empty());
  const Result expired = late.wait();
  EXPECT_EQ(expired.end, EndReason::kDeadline);
  EXPECT_TRUE(expired.ids.empty());
  EXPECT_EQ(runs.wait().end, EndReason::kLength);
  EXPECT_EQ(engine.status().queued_tokens, 0);
}

TEST_F(EngineTest, TheQueueIsBoundedByRequestsAndTokens) {
  EngineLimits limits;
  limits.max_running = 1;
  limits.max_queued = 2;
  limits.max_queued_tokens = 30;
  Engine engine(context_, model_, limits);
  Collector c[5];
  // One request of three sequences is refused as a whole.
  std::vector<SequenceRequest> three;
  for (int i = 0; i < 3; ++i) three.push_back(c[i].request(prompt(2, i), 2, 1));
  EXPECT_EQ(engine.submit(std::move(three)), Admission::kQueueFull);
  EXPECT_TRUE(engine.idle());
  EXPECT_EQ(submit(engine, c[3].request(prompt(31, 1), 2, 1)), Admission::kTokensFull);
  EXPECT_EQ(submit(engine, c[4].request(prompt(30, 1), 2, 1)), Admission::kAccepted);
  EXPECT_EQ(c[4].wait().end, EndReason::kLength);
  EXPECT_GE(engine.retry_after(), 1);
  engine.stop_accepting();
  EXPECT_EQ(engine.admission(), Admission::kStopping);
  EXPECT_EQ(submit(engine, c[0].request(prompt(2, 0), 2, 1)), Admission::kStopping);
}

TEST_F(EngineTest, TheCacheBudgetLimitsWhoRunsTogether) {
  EngineLimits limits;
  limits.kv_bytes = model_.transformer->cache_bytes(30);
  Engine engine(context_, model_, limits);
  Collector a, b;
  EXPECT_THROW(submit(engine, a.request(prompt(4, 1), 4000, 1)), Error);
  submit(engine, a.request(prompt(20, 1), 10, 1));
  submit(engine, b.request(prompt(20, 2), 10, 2));
  EXPECT_EQ(a.wait().end, EndReason::kLength);
  EXPECT_EQ(b.wait().end, EndReason::kLength);
}

TEST_F(EngineTest, WhatCanNeverRunIsRefusedWithItsReason) {
  Engine engine(context_, model_, {});
  Collector c;
  EXPECT_THROW(submit(engine, c.request({}, 2, 1)), Error);
  EXPECT_THROW(submit(engine, c.request({vocab_}, 2, 1)), Error);
  EXPECT_THROW(submit(engine, c.request({-1}, 2, 1)), Error);
  EXPECT_THROW(submit(engine, c.request({1}, engine.context_limit(), 1)), Error);
  EXPECT_THROW(submit(engine, c.request({1}, -1, 1)), Error);
  SequenceRequest hot = c.request({1}, 2, 1);
  hot.sampling.temperature = -1;
  EXPECT_THROW(submit(engine, std::move(hot)), Error);
  EXPECT_TRUE(engine.idle());
}

// A prompt that begins as an earlier one, or as one beside it, gives the same answer and computes
// less; another client's prompt computes everything.
TEST_F(EngineTest, PromptsThatBeginAlikeAreReadOnce) {
  const std::vector<std::int32_t> first = prompt(44, 1);
  std::vector<std::int32_t> second(first.begin(), first.begin() + 40);
  for (const std::int32_t id : prompt(4, 2)) second.push_back(id);
  const auto run = [](Engine& engine, const std::vector<std::int32_t>& ids, std::string client) {
    Collector collector;
    SequenceRequest request = collector.request(ids, 6, 5);
    request.client = std::move(client);
    EXPECT_EQ(engine.submit({request}), Admission::kAccepted);
    return collector.wait();
  };
  std::vector<std::int32_t> wanted;
  {
    Engine alone(context_, model_, {});
    wanted = run(alone, second, "a").ids;
    EXPECT_EQ(alone.status().reused_tokens, 0);
  }
  Engine engine(context_, model_, {});
  run(engine, first, "a");
  EXPECT_EQ(run(engine, second, "b").ids, wanted);
  EXPECT_EQ(engine.status().reused_tokens, 0) << "from another client";
  EXPECT_EQ(run(engine, second, "a").ids, wanted);
  EXPECT_EQ(engine.status().reused_tokens, 40);
  // What was answered is part of what the next turn begins with.
  std::vector<std::int32_t> turn = second;
  turn.insert(turn.end(), wanted.begin(), wanted.end());
  turn.push_back(3);
  run(engine, turn, "a");
  EXPECT_EQ(engine.status().reused_tokens, 40 + 49);
}

TEST_F(EngineTest, OnePromptWithManyAnswersIsReadOnce) {
  EngineLimits limits;
  limits.prefill_chunk = 16;
  std::vector<std::vector<std::int32_t>> wanted;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    Engine alone(context_, model_, limits);
    Collector collector;
    alone.submit({collector.request(prompt(50, 1), 6, seed)});
    wanted.push_back(collector.wait().ids);
  }
  Engine engine(context_, model_, limits);
  std::vector<Collector> collectors(4);
  std::vector<SequenceRequest> requests;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    requests.push_back(collectors[seed].request(prompt(50, 1), 6, seed));
  }
  ASSERT_EQ(engine.submit(std::move(requests)), Admission::kAccepted);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(collectors[i].wait().ids, wanted[i]);
  EXPECT_EQ(engine.status().reused_tokens, 3 * 49);
  EXPECT_EQ(engine.status().prompt_tokens, 50 + 3);
}

// What is kept makes room for what runs.
TEST_F(EngineTest, KeptCachesNeverTakeTheBudgetOfOthers) {
  EngineLimits limits;
  limits.kv_bytes = model_.transformer->cache_bytes(64);
  Engine engine(context_, model_, limits);
  for (int salt = 1; salt < 5; ++salt) {
    Collector collector;
    ASSERT_EQ(engine.submit({collector.request(prompt(40, salt), 8, 1)}), Admission::kAccepted);
    EXPECT_EQ(collector.wait().end, EndReason::kLength);
    const EngineStatus status = engine.status();
    EXPECT_LE(status.kv_bytes + status.kept_bytes, limits.kv_bytes);
  }
}

// What /([ae]l)*/ takes.
bool in_turns(const std::string& text) {
  bool vowel = true;
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return std::exchange(vowel, !vowel) ? c == 'a' || c == 'e' : c == 'l';
  });
}

// Pages that run out: who started last is set aside, resumes, and writes what it would have
// written.
TEST_F(EngineTest, WhoIsSetAsideGoesOnWithTheSameBits) {
  load_long();
  constexpr int kMany = 4;
  // Up to a letter that the vocabulary does not have.
  const infer::grammar::ConstraintPtr turns = infer::grammar::constrain_to_grammar(
      "root ::= ([ae] \"l\")* \"z\"",
      std::make_shared<infer::grammar::TokenTable>(*model_.tokenizer, model_.end_ids, vocab_));
  const auto request = [&](Collector& collector, int i) {
    SequenceRequest r = collector.request(prompt(40 + 20 * i, i), 110, 100 + i);
    r.client = std::to_string(i);
    if (i % 2 == 1) r.constraint = turns, r.ignore_eos = false;
    return r;
  };
  std::vector<Result> alone;
  for (int i = 0; i < kMany; ++i) {
    Engine engine(context_, model_, {});
    Collector collector;
    submit(engine, request(collector, i));
    alone.push_back(collector.wait());
  }
  for (const std::int64_t pages : {4, 5, 8}) {
    EngineLimits limits = limits_of(pages, 32);
    Engine engine(context_, model_, limits);
    std::vector<Collector> collectors(kMany);
    for (int i = 0; i < kMany; ++i) submit(engine, request(collectors[i], i));
    for (int i = 0; i < kMany; ++i) {
      const Result result = collectors[i].wait();
      EXPECT_EQ(result.end, EndReason::kLength) << result.error;
      expect_same(result, alone[i]);
      EXPECT_EQ(in_turns(result.text), i % 2 == 1) << result.text;
      const EngineStatus status = engine.status();
      EXPECT_LE(status.kv_bytes + status.kept_bytes, limits.kv_bytes);
    }
    const EngineStatus status = engine.status();
    EXPECT_EQ(status.prompt_tokens, 40 + 60 + 80 + 100) << "tokens computed anew are not counted";
    EXPECT_EQ(status.set_aside, 0);
    if (pages > 4) {  // four hold one sequence, and no other starts beside it
      EXPECT_GT(status.preemptions, 0) << pages << " pages";
    }
  }
}

TEST_F(EngineTest, WhatIsSetAsideCanLeave) {
  load_long();
  EngineLimits limits = limits_of(3, 16);
  Engine engine(context_, model_, limits);
  Collector oldest, youngest;
  SequenceRequest first = oldest.request(prompt(20, 1), 160, 1);
  first.on_event = [&, next = std::move(first.on_event)](Event&& event) {
    if (engine.status().set_aside > 0) *youngest.cancelled = true;
    next(std::move(event));
  };
  SequenceRequest second = youngest.request(prompt(20, 2), 160, 2);
  second.client = "b";
  ASSERT_EQ(engine.submit({std::move(first), std::move(second)}), Admission::kAccepted);
  EXPECT_EQ(oldest.wait().end, EndReason::kLength);
  const Result left = youngest.wait();
  EXPECT_EQ(left.end, EndReason::kCancelled);
  EXPECT_LT(left.ids.size(), 160u);
  EXPECT_EQ(engine.status().preemptions, 1);
}

// Pages that are shared with a kept cache count for who may start beside their holder.
TEST_F(EngineTest, SharedPagesCountForWhoMayStart) {
  load_long();
  EngineLimits limits = limits_of(8, 16);
  Engine engine(context_, model_, limits);
  std::vector<std::int32_t> ids = prompt(330, 1);
  const auto request = [](Collector& collector, std::vector<std::int32_t> tokens,
                          std::int64_t answer, std::string client) {
    SequenceRequest r = collector.request(std::move(tokens), answer, 1);
    r.client = std::move(client);
    return r;
  };
  Collector first, a, b;
  submit(engine, request(first, ids, 2, "a"));
  first.wait();
  for (const std::int32_t id : prompt(10, 3)) ids.push_back(id);
  std::int64_t least = limits.kv_bytes, events = 0;
  SequenceRequest again = request(a, ids, 100, "a");
  again.on_event = [&, next = std::move(again.on_event)](Event&& event) {
    // The first one comes before the step's end, when the figures are taken.
    if (event.id >= 0 && ++events > 1) least = std::min(least, engine.status().kv_bytes);
    next(std::move(event));
  };
  ASSERT_EQ(engine.submit({std::move(again), request(b, prompt(250, 5), 4, "b")}),
            Admission::kAccepted);
  EXPECT_EQ(a.wait().end, EndReason::kLength);
  EXPECT_EQ(b.wait().end, EndReason::kLength);
  EXPECT_EQ(engine.status().preemptions, 0);
  EXPECT_GE(least, 5 * model_.transformer->cache_bytes(1));
}

// A long prompt moves in every step, however many short ones come after it.
TEST_F(EngineTest, ShortPromptsDoNotHoldUpTheOldest) {
  constexpr int kShort = 20;
  EngineLimits limits;
  limits.prefill_chunk = 1;
  limits.max_running = 4;
  Engine engine(context_, model_, limits);
  Collector oldest;
  std::vector<Collector> others(kShort);
  std::atomic<int> ended = 0, before = kShort;
  const auto ends = [](SequenceRequest request, std::string client, std::function<void()> then) {
    request.client = std::move(client);
    request.on_event = [then = std::move(then), next = std::move(request.on_event)](Event&& event) {
      if (event.end != EndReason::kNone) then();
      next(std::move(event));
    };
    return request;
  };
  std::vector<SequenceRequest> requests;
  // Equal clients take turns by name: the empty one is the first to start.
  requests.push_back(ends(oldest.request(prompt(40, 1), 1, 1), "", [&] { before = ended.load(); }));
  for (int i = 0; i < kShort; ++i) {
    requests.push_back(
        ends(others[i].request(prompt(6, 2 + i), 1, 1), std::to_string(i), [&] { ++ended; }));
  }
  ASSERT_EQ(engine.submit(std::move(requests)), Admission::kAccepted);
  EXPECT_EQ(oldest.wait().end, EndReason::kLength);
  for (Collector& other : others) EXPECT_EQ(other.wait().end, EndReason::kLength);
  EXPECT_LT(before, kShort / 2);
}

// However small the steps and whoever is beside it.
TEST_F(EngineTest, TheOldestAlwaysEnds) {
  load_long();
  EngineLimits limits = limits_of(8, 1);
  Engine engine(context_, model_, limits);
  Collector oldest, other;
  SequenceRequest first = oldest.request(prompt(440, 1), 5, 1);
  first.client = "a";
  first.deadline = Clock::now() + std::chrono::seconds(30);
  SequenceRequest second = other.request(prompt(20, 5), 200, 2);
  second.client = "b";
  second.deadline = first.deadline;
  ASSERT_EQ(engine.submit({std::move(first), std::move(second)}), Admission::kAccepted);
  EXPECT_EQ(oldest.wait().end, EndReason::kLength);
  EXPECT_EQ(other.wait().end, EndReason::kLength);
}

// What one client's sequences share survives that they are set aside, and is counted once.
TEST_F(EngineTest, SharingAndSettingAsideGoTogether) {
  load_long();
  constexpr int kMany = 3;
  const auto request = [&](Collector& collector, int i) {
    std::vector<std::int32_t> ids = prompt(100, 1);
    for (const std::int32_t id : prompt(5 + i, 3 + i)) ids.push_back(id);
    return collector.request(ids, 150, 20 + i);
  };
  std::vector<Result> alone;
  for (int i = 0; i < kMany; ++i) {
    Engine engine(context_, model_, {});
    Collector collector;
    submit(engine, request(collector, i));
    alone.push_back(collector.wait());
  }
  for (const std::int64_t chunk : {7, 256}) {
    EngineLimits limits;
    limits.kv_bytes = 6 * model_.transformer->cache_bytes(1);
    limits.prefill_chunk = chunk;
    Engine engine(context_, model_, limits);
    std::vector<Collector> collectors(kMany);
    std::vector<SequenceRequest> requests;
    for (int i = 0; i < kMany; ++i) requests.push_back(request(collectors[i], i));
    ASSERT_EQ(engine.submit(std::move(requests)), Admission::kAccepted);
    for (int i = 0; i < kMany; ++i) expect_same(collectors[i].wait(), alone[i]);
    const EngineStatus status = engine.status();
    EXPECT_GT(status.preemptions, 0);
    EXPECT_EQ(status.prompt_tokens + status.reused_tokens, 105 + 106 + 107);
    EXPECT_LE(status.kv_bytes + status.kept_bytes, limits.kv_bytes);
  }
}

TEST_F(EngineTest, AnEmbeddingThatIsSetAsideIsTheSame) {
  load_long();
  const auto embed = [&](Collector& collector) {
    SequenceRequest request = collector.request(prompt(150, 2), 0, 2);
    request.client = "b";
    request.pooling = Pooling::kMean;
    return request;
  };
  EngineLimits limits;
  limits.prefill_chunk = 2;
  std::vector<float> wanted;
  {
    Engine engine(context_, model_, limits);
    Collector collector;
    submit(engine, embed(collector));
    wanted = collector.wait().embedding;
    ASSERT_FALSE(wanted.empty());
  }
  limits.kv_bytes = 4 * model_.transformer->cache_bytes(1);
  Engine engine(context_, model_, limits);
  Collector writes, reads;
  ASSERT_EQ(engine.submit({writes.request(prompt(4, 1), 190, 1), embed(reads)}),
            Admission::kAccepted);  // in one step: one reads while the other grows
  EXPECT_EQ(reads.wait().embedding, wanted);
  EXPECT_EQ(writes.wait().end, EndReason::kLength);
  EXPECT_GT(engine.status().preemptions, 0);
}

TEST_F(EngineTest, ABiasOfATokenThatDoesNotExistIsRefused) {
  Engine engine(context_, model_, {});
  Collector collector;
  SequenceRequest request = collector.request(prompt(4, 1), 2, 1);
  request.sampling.logit_bias = {{1 << 20, 1.0}};
  EXPECT_THROW(engine.submit({request}), Error);
}

TEST_F(EngineTest, EndAllEndsWhatRunsAndWhatWaits) {
  EngineLimits limits;
  limits.max_running = 1;
  Engine engine(context_, model_, limits);
  Collector runs, waits;
  Gate gate;
  submit(engine, gate.hold(runs.request(prompt(4, 2), 50, 8)));
  gate.wait();
  submit(engine, waits.request(prompt(4, 2), 50, 8));
  engine.end_all();
  gate.open();
  const Result ran = runs.wait();
  EXPECT_EQ(ran.end, EndReason::kShutdown);
  EXPECT_EQ(ran.ids.size(), 1u);
  EXPECT_EQ(waits.wait().end, EndReason::kShutdown);
}

}  // namespace
}  // namespace conclave::serve

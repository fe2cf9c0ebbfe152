#include "serve/routing_history.h"

#include <gtest/gtest.h>

namespace conclave::serve {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const RoutingHistory::Time kBegin = RoutingHistory::Time() + seconds(5000);

// One token that chose experts 0 and `expert`.
moe::RoutingDecision decision(std::int32_t expert) {
  moe::RoutingDecision d;
  d.n_tokens = 1;
  d.n_experts = 4;
  d.k = 2;
  d.topk_ids_TK = {0, expert};
  d.topk_weights_TK = {0.5f, 0.5f};
  return d;
}

// A history with one token a second for `length` seconds, all but expert 0 to `second` % 3 + 1.
RoutingHistory steady(int length) {
  RoutingHistory history(2, kBegin);
  for (int s = 0; s < length; ++s) {
    history.advance(kBegin + seconds(s) + milliseconds(500));
    history.add(1, decision(s % 3 + 1));
  }
  return history;
}

TEST(RoutingHistory, TheTotalHasEverything) {
  const RoutingHistory history = steady(10000);
  const auto total = history.total();
  ASSERT_EQ(total.size(), 2u);
  EXPECT_EQ(total[0].tokens(), 0);
  EXPECT_EQ(total[1].tokens(), 10000);
  EXPECT_EQ(total[1].coactivation(0, 1), 3334);
  EXPECT_EQ(total[1].coactivation(1, 2), 0);
}

TEST(RoutingHistory, AWindowHasItsSeconds) {
  const RoutingHistory history = steady(100);
  const auto now = kBegin + seconds(99) + milliseconds(600);
  const auto five = history.window(5, now);
  // From 94.6 on, and so the whole second in which that lies: 94 to 99.
  EXPECT_EQ(five.layers[1].tokens(), 6);
  EXPECT_NEAR(five.seconds, 5.6, 1e-6);
  EXPECT_EQ(five.layers[0].tokens(), 0);
  EXPECT_EQ(history.window(1, now).layers[1].tokens(), 2);
  EXPECT_EQ(history.window(1, now + seconds(30)).layers[1].tokens(), 0);
  EXPECT_NEAR(history.window(1, now + seconds(30)).seconds, 1, 1e-6);
}

TEST(RoutingHistory, LongWindowsAreMadeOfMinutes) {
  const RoutingHistory history = steady(1000);
  const auto now = kBegin + seconds(1000);
  const auto window = history.window(300, now);
  EXPECT_GE(window.layers[1].tokens(), 300);
  EXPECT_LE(window.layers[1].tokens(), 360);
  EXPECT_NEAR(window.seconds, static_cast<double>(window.layers[1].tokens()), 1.01);
  EXPECT_EQ(history.window(3600, now).layers[1].tokens(), 1000);
}

TEST(RoutingHistory, ItEndsAfterAnHour) {
  const RoutingHistory history = steady(20000);
  const auto window = history.window(3600, kBegin + seconds(20000));
  EXPECT_GE(window.layers[1].tokens(), 3600);
  EXPECT_LE(window.layers[1].tokens(), 3720);
  RoutingHistory late = history;
  late.advance(kBegin + seconds(30000));
  EXPECT_EQ(late.window(3600, kBegin + seconds(30000)).layers[1].tokens(), 0);
  EXPECT_EQ(late.total()[1].tokens(), 20000);
}

}  // namespace
}  // namespace conclave::serve

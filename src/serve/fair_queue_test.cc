#include "serve/fair_queue.h"

#include <gtest/gtest.h>

namespace conclave::serve {
namespace {

using Queue = FairQueue<std::string>;

std::string drain(Queue& queue) {
  std::string order;
  while (!queue.empty()) order += queue.pop();
  return order;
}

TEST(FairQueue, OneClientIsServedInOrderOfArrival) {
  Queue queue;
  for (const char* item : {"a", "b", "c"}) queue.push("x", item, 5);
  EXPECT_EQ(queue.front(), "a");
  EXPECT_EQ(queue.waiting("x"), 3);
  EXPECT_EQ(queue.waiting_tokens("x"), 15);
  EXPECT_EQ(drain(queue), "abc");
  EXPECT_EQ(queue.waiting_tokens("x"), 0);
}

TEST(FairQueue, WhoComesLateIsNotBehindAllOfAnother) {
  Queue queue;
  for (int i = 0; i < 6; ++i) queue.push("flood", "f", 10);
  queue.push("late", "l", 10);
  queue.push("late", "l", 10);
  EXPECT_EQ(drain(queue), "flflffff");
}

TEST(FairQueue, TokensCountNotRequests) {
  Queue queue;
  for (int i = 0; i < 2; ++i) queue.push("long", "L", 40);
  for (int i = 0; i < 9; ++i) queue.push("short", "s", 10);
  // Both at 0: names decide; then four short ones weigh as much as a long one.
  EXPECT_EQ(drain(queue), "LssssLsssss");
}

TEST(FairQueue, AnswersAreChargedTwice) {
  Queue queue;
  for (int i = 0; i < 2; ++i) {
    queue.push("a", "a", 1);
    queue.push("b", "b", 1);
  }
  EXPECT_EQ(queue.pop(), "a");
  queue.charge("a", 1);  // a has paid 1 + 2
  EXPECT_EQ(queue.pop(), "b");
  EXPECT_EQ(queue.pop(), "b");
  EXPECT_EQ(queue.pop(), "a");
}

TEST(FairQueue, APauseSavesNothingUp) {
  Queue queue;
  queue.push("rare", "r", 1);
  EXPECT_EQ(queue.pop(), "r");
  queue.leave("rare");
  for (int i = 0; i < 5; ++i) queue.push("busy", "b", 100);
  for (int i = 0; i < 3; ++i) queue.pop();
  for (int i = 0; i < 3; ++i) queue.push("rare", "r", 100);
  // Level with the other from now on, not served alone until it has made up for 300 tokens.
  EXPECT_EQ(drain(queue), "brbrr");
}

TEST(FairQueue, WhoWorkedAloneOwesNothingForIt) {
  Queue queue;
  queue.push("alone", "x", 1000);
  queue.pop();  // and is being served still
  queue.push("new", "n", 10);
  queue.push("alone", "a", 10);
  queue.push("new", "n", 10);
  queue.push("alone", "a", 10);
  EXPECT_EQ(drain(queue), "anan");
}

TEST(FairQueue, DebtsLastWhileOthersWait) {
  Queue queue;
  queue.push("a", "a", 100);
  queue.push("b", "b", 1);
  queue.push("b", "b", 1);
  EXPECT_EQ(queue.pop(), "a");
  queue.leave("a");
  EXPECT_EQ(queue.clients(), 2u);
  queue.push("a", "A", 1);
  EXPECT_EQ(drain(queue), "bbA");
}

TEST(FairQueue, NobodyIsRememberedWhenNothingIsLeft) {
  Queue queue;
  for (int i = 0; i < 100; ++i) queue.push("client " + std::to_string(i), "x", i);
  for (int i = 0; i < 100; ++i) queue.pop();
  for (int i = 0; i < 100; ++i) queue.leave("client " + std::to_string(i));
  EXPECT_EQ(queue.clients(), 0u);
  queue.leave("nobody");
}

TEST(FairQueue, TakesOutWhatIsOverdue) {
  Queue queue;
  queue.push("x", "a", 2);
  queue.push("x", "b", 3);
  queue.push("y", "b", 4);
  queue.push("x", "c", 5);
  EXPECT_EQ(queue.take_if([](const std::string& item) { return item == "b"; }).size(), 2u);
  EXPECT_EQ(queue.size(), 2);
  EXPECT_EQ(queue.waiting_tokens("x"), 7);
  EXPECT_EQ(drain(queue), "ac");
}

}  // namespace
}  // namespace conclave::serve

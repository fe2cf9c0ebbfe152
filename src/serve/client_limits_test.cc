#include "serve/client_limits.h"

#include <gtest/gtest.h>

namespace conclave::serve {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const ClientLimits::Time kBegin = ClientLimits::Time() + seconds(1000);

TEST(ClientLimits, WithoutLimitsEverythingPasses) {
  const ClientLimitOptions options;
  ClientLimits limits(options);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_FALSE(limits.check("a", kBegin, 3));
    limits.count("a", kBegin);
    limits.begin("a");
  }
  for (int i = 0; i < 1000; ++i) limits.end("a");
  EXPECT_EQ(limits.clients(), 0u);
}

TEST(ClientLimits, RequestsUnderWay) {
  const ClientLimitOptions options{.requests = 2};
  ClientLimits limits(options);
  limits.begin("a");
  EXPECT_FALSE(limits.check("a", kBegin, 7));
  limits.begin("a");
  const auto error = limits.check("a", kBegin, 7);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->status, 429);
  EXPECT_EQ(error->code, "rate_limit_exceeded");
  EXPECT_EQ(error->retry_after, 7);
  EXPECT_FALSE(limits.check("b", kBegin, 7));
  limits.end("a");
  EXPECT_FALSE(limits.check("a", kBegin, 7));
  EXPECT_TRUE(limits.busy("a"));
  limits.end("a");
  EXPECT_FALSE(limits.busy("a"));
  limits.end("a");  // more ends than begins change nothing
  limits.begin("a");
  EXPECT_TRUE(limits.busy("a"));
}

TEST(ClientLimits, RequestsAMinute) {
  const ClientLimitOptions options{.requests_per_minute = 6};
  ClientLimits limits(options);
  auto now = kBegin;
  for (int i = 0; i < 6; ++i) {
    EXPECT_FALSE(limits.check("a", now, 1)) << i;
    limits.count("a", now);
  }
  const auto error = limits.check("a", now, 1);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->status, 429);
  EXPECT_EQ(error->retry_after, 10);  // the next one of six a minute
  EXPECT_FALSE(limits.check("b", now, 1));
  now += milliseconds(9900);
  ASSERT_TRUE(limits.check("a", now, 1));
  EXPECT_EQ(limits.check("a", now, 1)->retry_after, 1);
  now += milliseconds(200);
  EXPECT_FALSE(limits.check("a", now, 1));
  limits.count("a", now);
  EXPECT_TRUE(limits.check("a", now, 1));
  now += seconds(600);  // no more than a minute's worth is saved up
  for (int i = 0; i < 6; ++i) {
    EXPECT_FALSE(limits.check("a", now, 1)) << i;
    limits.count("a", now);
  }
  EXPECT_TRUE(limits.check("a", now, 1));
}

TEST(ClientLimits, MemoryIsBounded) {
  const ClientLimitOptions options{.requests = 5, .requests_per_minute = 60};
  ClientLimits limits(options, 100);
  auto now = kBegin;
  for (int i = 0; i < 10000; ++i) {
    const std::string client = "address " + std::to_string(i);
    if (!limits.check(client, now, 1)) limits.count(client, now);
  }
  EXPECT_LE(limits.clients(), 101u);
  // Those that came first are still told apart; strangers share what one client may have.
  EXPECT_FALSE(limits.check("address 1", now, 1));
  EXPECT_TRUE(limits.check("address 99999", now, 1));
  now += seconds(61);
  EXPECT_FALSE(limits.check("address 99999", now, 1));
  EXPECT_EQ(limits.clients(), 0u);
}

TEST(ClientLimits, WhatBeganAsAStrangerEndsAsOne) {
  const ClientLimitOptions options{.requests = 1};
  ClientLimits limits(options, 1);
  limits.begin("a");
  limits.begin("b");  // no room: among the others
  EXPECT_TRUE(limits.check("c", kBegin, 1));
  limits.end("a");
  limits.end("b");
  EXPECT_FALSE(limits.check("c", kBegin, 1));
  EXPECT_EQ(limits.clients(), 0u);
}

}  // namespace
}  // namespace conclave::serve

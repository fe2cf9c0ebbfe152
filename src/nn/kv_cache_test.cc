#include "nn/kv_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

namespace conclave::nn {
namespace {

constexpr int kLayers = 3, kHeads = 2, kDim = 16;

std::shared_ptr<KvPool> new_pool() {
  return std::make_shared<KvPool>(kLayers, kHeads, kDim, ops::KvType::kF16);
}

std::set<std::byte*> blocks_of(const KvCache& cache) {
  const ops::KvView view = cache.layer(0);
  return {view.blocks, view.blocks + view.n_blocks};
}

TEST(KvCache, TakesPagesAsItGrowsAndGivesThemBack) {
  const auto pool = new_pool();
  EXPECT_EQ(pool->page_bytes(), KvCache::bytes(kLayers, kHeads, kDim, 1, ops::KvType::kF16));
  EXPECT_EQ(KvCache::bytes(3, 4, 128, 64, ops::KvType::kQ8_0) * 64,
            KvCache::bytes(3, 4, 128, 64, ops::KvType::kF16) * 34);
  EXPECT_EQ(pool->page_bytes(), 2 * 64 * kLayers * kHeads * kDim * 2);
  KvCache cache(pool, 200);
  EXPECT_EQ(pool->used_pages(), 0);
  for (const auto& [positions, pages] : {std::pair{1, 1}, {64, 1}, {65, 2}, {30, 2}, {200, 4}}) {
    cache.reserve(positions);
    EXPECT_EQ(cache.pages(), pages);
    EXPECT_EQ(pool->used_pages(), pages);
  }
  EXPECT_EQ(cache.layer(2).capacity(), 256);
  EXPECT_EQ(cache.layer(2).offset, 2 * pool->layer_bytes());
  EXPECT_EQ(KvCache::bytes(kLayers, kHeads, kDim, 200, ops::KvType::kF16), 4 * pool->page_bytes());
  const std::set<std::byte*> before = blocks_of(cache);
  EXPECT_EQ(before.size(), 4u);
  cache.release();
  EXPECT_EQ(pool->used_pages(), 0);
  KvCache other(pool, 200);
  other.reserve(200);
  EXPECT_EQ(blocks_of(other), before) << "memory that was given back is taken again";
  KvCache more(pool, 64 * 20000);  // several slabs
  more.reserve(64 * 20000);
  EXPECT_EQ(blocks_of(more).size(), 20000u);
  EXPECT_EQ(pool->used_pages(), 20004);
}

TEST(KvCache, SharesWholePagesAndCopiesTheLast) {
  const auto pool = new_pool();
  KvCache first(pool, 300), second(pool, 400);
  first.reserve(200);
  const auto fill = [&](const KvCache& cache, int page, int value) {
    std::memset(cache.layer(0).blocks[page], value, static_cast<std::size_t>(pool->page_bytes()));
  };
  for (int page = 0; page < 4; ++page) fill(first, page, page + 1);
  second.share_prefix(first, 150);
  EXPECT_EQ(second.pages(), 3);
  EXPECT_EQ(pool->used_pages(), 5);
  const ops::KvView a = first.layer(0), b = second.layer(0);
  EXPECT_EQ(a.blocks[0], b.blocks[0]);
  EXPECT_EQ(a.blocks[1], b.blocks[1]);
  EXPECT_NE(a.blocks[2], b.blocks[2]);
  EXPECT_EQ(std::memcmp(a.blocks[2], b.blocks[2], static_cast<std::size_t>(pool->page_bytes())), 0);
  fill(second, 2, 9);
  EXPECT_EQ(a.blocks[2][0], std::byte{3}) << "the copy is its own";
  // What both hold stays while either lives.
  first.release();
  EXPECT_EQ(pool->used_pages(), 3);
  EXPECT_EQ(b.blocks[1][5], std::byte{2});
  second.share_prefix(KvCache(pool, 10), 0);
  EXPECT_EQ(pool->used_pages(), 0);
}

TEST(KvCache, WholePagesAreNotCopied) {
  const auto pool = new_pool();
  KvCache first(pool, 128), second(pool, 128);
  first.reserve(128);
  second.share_prefix(first, 128);
  EXPECT_EQ(pool->used_pages(), 2);
}

TEST(KvCache, ACopyHasPagesOfItsOwn) {
  const auto pool = new_pool();
  KvCache first(pool, 100), second(pool, 100);
  first.reserve(100);
  std::memset(first.layer(0).blocks[1], 7, static_cast<std::size_t>(pool->page_bytes()));
  second.copy_from(first);
  EXPECT_EQ(pool->used_pages(), 4);
  EXPECT_EQ(second.layer(0).blocks[1][3], std::byte{7});
}

TEST(KvCache, PagesOutliveTheirPool) {
  KvPool::Page page = new_pool()->take();
  std::memset(page.get(), 1, 64);
  page.reset();
}

}  // namespace
}  // namespace conclave::nn

// Who holds which pages of keys and values: sharing what begins alike, starting what is likely to
// fit, and setting aside where pages run out.

#include <algorithm>

#include "base/error.h"
#include "serve/engine.h"
#include "serve/sequence.h"

namespace conclave::serve {

// Pages that running sequences hold, each once.
std::int64_t Engine::held_pages() {
  if (held_pages_ >= 0) return held_pages_;
  std::vector<const std::byte*> pages;
  for (const SequencePtr& sequence : running_) {
    const auto blocks = sequence->cache->blocks();
    pages.insert(pages.end(), blocks.begin(), blocks.end());
  }
  std::sort(pages.begin(), pages.end());
  held_pages_ = std::unique(pages.begin(), pages.end()) - pages.begin();
  return held_pages_;
}

// Whether there are likely to be so many more pages, for `starting` sequences or one that goes on:
// beside what running sequences hold, what they need for their tokens, and one page for each to
// grow into. A sequence should not start only to be set aside.
bool Engine::fits(std::int64_t pages, std::size_t starting) {
  if (running_.empty() && starting == 0) return true;  // alone: its door has been asked already
  pages += held_pages();
  for (const SequencePtr& sequence : running_) {
    pages += std::max<std::int64_t>(0, sequence->pages() - sequence->cache->pages()) + 1;
  }
  return pages <= most_pages_;
}

// Goes on with what was set aside.
void Engine::resume() {
  while (!set_aside_.empty() && fits(set_aside_.front()->pages(), 0)) {
    running_.push_back(std::move(set_aside_.front()));
    set_aside_.pop_front();
  }
}

// Takes the beginning of its tokens from a sequence that ended, or from one before it in running_.
// False: such a one is reading what both have in common, which is worth waiting for. The last token
// is always computed: its row is what comes next.
bool Engine::reuse(Sequence& s) {
  if (s.furthest == 0) s.reused = 0;
  if (s.request.pooling != Pooling::kNone) return true;  // wants the states of all its tokens
  const std::span<const std::int32_t> wanted(s.tokens.data(), s.tokens.size() - 1);
  PrefixCache::Match best = prefixes_.find(s.request.client, wanted);
  if (best.cache != nullptr && !model_.transformer->same_angles(*best.cache, *s.cache)) best = {};
  for (const SequencePtr& other : running_) {
    if (other.get() == &s) break;
    if (other->ended || other->request.client != s.request.client) continue;
    if (!model_.transformer->same_angles(*other->cache, *s.cache)) continue;
    std::int64_t common = common_prefix(wanted, other->tokens);
    if (common < PrefixCache::kLeastTokens || common <= best.tokens) continue;
    if (other->computed < common && !other->writing()) return false;
    common = std::min(common, other->computed);  // while writing, all but the last token
    best = {other->cache.get(), common};
  }
  if (best.cache == nullptr) return true;
  share(s, best);
  return true;
}

// The page that is not full is copied, where there is one to copy it to.
void Engine::share(Sequence& s, PrefixCache::Match match) {
  const std::int64_t rest = match.tokens % ops::kKeyBlock;
  while (rest > 0 && pool_->used_pages() >= most_pages_) {
    if (prefixes_.forget_oldest(match.cache)) continue;
    match.tokens -= rest;
    break;
  }
  try {
    s.cache->share_prefix(*match.cache, match.tokens);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kOutOfMemory) throw;
    match.tokens = 0;  // take_pages() will find out
  }
  s.computed = match.tokens;
  if (s.furthest == 0) s.reused = match.tokens;
  held_pages_ = -1;
}

// Memory for what is planned: of kept caches, or of those that started last. Where the machine has
// less than the budget, that is the budget from then on.
void Engine::take_pages() {
  for (std::size_t i = 0; i < running_.size(); ++i) {
    Sequence& s = *running_[i];
    while (s.rows > 0 && !grow(s)) {
      if (prefixes_.forget_oldest()) continue;
      if (running_.size() == 1) {  // the machine's memory has shrunk below what was promised
        s.rows = 0;
        finish(s, EndReason::kFailed, "out of memory for keys and values");
        break;
      }
      set_aside_last();
      if (i == running_.size()) return;  // it was that one
    }
  }
}

bool Engine::grow(Sequence& s) {
  const std::int64_t end = s.computed + s.rows;
  const std::int64_t needed = nn::KvPool::pages(end) - s.cache->pages();
  if (needed <= 0) return true;
  held_pages_ = -1;
  if (pool_->used_pages() + needed > most_pages_) return false;
  try {
    s.cache->reserve(end);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kOutOfMemory) throw;
    most_pages_ = pool_->used_pages();
    return false;
  }
  return true;
}

void Engine::set_aside_last() {
  running_.back()->set_aside();
  set_aside_.push_front(std::move(running_.back()));
  running_.pop_back();
  held_pages_ = -1;
  const std::lock_guard lock(mutex_);
  ++status_.preemptions;
}

}  // namespace conclave::serve

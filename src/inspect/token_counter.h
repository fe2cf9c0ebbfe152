// How often each (expert, token id) pair was seen: an open-addressing hash table, since the full
// E x V table of one layer would take 78 MB already for 128 experts and 152,000 token ids, while a
// text of N tokens can fill at most N * K entries. 16 bytes an entry, at most 2/3 full.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace conclave::inspect {

class TokenCounter {
 public:
  struct Entry {
    std::int32_t expert;
    std::int32_t token;
    std::int64_t count;  // 0: an empty place of the table
  };

  // Counts one more; both ids are >= 0 (checked by the caller).
  void add(std::int32_t expert, std::int32_t token);
  // 0 for a pair that was never seen.
  std::int64_t count(std::int32_t expert, std::int32_t token) const;
  std::size_t size() const { return used_; }
  // All pairs seen, sorted by expert, then token.
  std::vector<Entry> sorted() const;

 private:
  std::size_t place(std::int32_t expert, std::int32_t token) const;
  void grow();

  std::vector<Entry> table_;
  std::size_t used_ = 0;
};

}  // namespace conclave::inspect

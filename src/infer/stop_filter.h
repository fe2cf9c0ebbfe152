// Streams text while watching for stop strings: what could still become the beginning of one is
// held back, and nothing after a stop string (or of it) comes out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace conclave::infer {

class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops);
  // Text that is final now. After stopped() it is always empty.
  std::string push(std::string_view piece);
  // What was held back, at the end of the answer.
  std::string flush();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string pending_;
  bool stopped_ = false;
};

}  // namespace conclave::infer

// Calls of tools while they are written: name first, then the arguments piece by piece, for forms
// whose arguments stand as JSON in the text. What a model has written cannot be taken back, so
// arguments that turn out to be no JSON have been sent by then: OpenAI's clients are told to expect
// that.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "serve/tools/output_reader.h"

namespace conclave::serve {

class CallStream {
 public:
  // Borrows the options. A stream reads the calls between one pair of marks.
  explicit CallStream(const ReaderOptions& options) : options_(options) {}

  // The next bytes of the body. Adds kCallStart and kArguments to `out`.
  void push(std::string_view text, OutputPieces& out);
  // Calls whose start has been said.
  std::size_t begun() const { return begun_; }
  void reset();

 private:
  enum class Place : std::uint8_t { kHead, kArguments, kGivenUp };

  void head(char c, OutputPieces& out);
  void argument(char c, std::string& text);

  const ReaderOptions& options_;
  Place place_ = Place::kHead;
  std::string head_;  // what stands in front of the arguments
  std::size_t begun_ = 0;
  int depth_ = 0;
  bool quoted_ = false, escaped_ = false;
};

}  // namespace conclave::serve

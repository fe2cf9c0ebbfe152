// What every operation of a template needs besides its values: the budgets, and where in the
// template it happens, so that an error can say so.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/error.h"
#include "text/jinja/value.h"

namespace conclave::text::jinja {

// A place in the template's text, from 1. Columns count bytes.
struct Position {
  int line = 1;
  int column = 1;
};

struct Budget {
  std::uint64_t steps = 5'000'000;           // nodes evaluated, items walked
  std::uint64_t made_bytes = 128ull << 20;   // all values that are made, freed ones too
  std::uint64_t output_bytes = 32ull << 20;  // the rendered text
  int depth = 800;                           // expressions in expressions in macros ...
};

class Runtime {
 public:
  Runtime(std::string name, const Budget& budget) : name_(std::move(name)), budget_(budget) {}

  Position position;

  void step(std::uint64_t count = 1) {
    if (count > budget_.steps - steps_) out_of_steps();
    steps_ += count;
  }
  // Before `bytes` of new text or values are made.
  void charge(std::uint64_t bytes) {
    if (bytes > budget_.made_bytes - made_) out_of_memory();
    made_ += bytes;
  }
  // Values in lists and dicts.
  void charge_items(std::uint64_t count) {
    step(count / 8);
    charge(count > budget_.made_bytes ? count : count * sizeof(Value));
  }
  void check_output(std::uint64_t bytes) {
    if (bytes > budget_.output_bytes) out_of_output();
  }

  // Error(kInvalidArgument) "NAME, line L, column C: MESSAGE": the template cannot take these
  // values.
  template <class... T>
  [[noreturn]] void error(fmt::format_string<T...> format, T&&... values) const {
    raise(ErrorKind::kInvalidArgument, fmt::format(format, std::forward<T>(values)...));
  }
  template <class... T>
  [[noreturn]] void unsupported(fmt::format_string<T...> format, T&&... values) const {
    raise(ErrorKind::kUnsupported, fmt::format(format, std::forward<T>(values)...));
  }

  // Checks made values.
  Value checked(Value value) const {
    if (value.depth() > kMaxValueDepth) too_deep_value();
    return value;
  }
  Value make_list(std::vector<Value> items) {
    charge_items(items.size() + 2);
    return checked(Value::list(std::move(items)));
  }
  Value make_tuple(std::vector<Value> items) {
    charge_items(items.size() + 2);
    return checked(Value::tuple(std::move(items)));
  }
  Value make_string(MarkedText text) {
    charge(text.size() + 64);
    return Value::string(std::move(text));
  }
  // A text that the engine or the template made.
  Value make_string(std::string text, Origin origin = Origin::kTemplate) {
    return make_string(MarkedText(std::move(text), origin));
  }

  // Counts C++ frames that nest with the template's structure.
  class Nested {
   public:
    explicit Nested(Runtime& runtime) : runtime_(runtime) {
      if (++runtime_.depth_ > runtime_.budget_.depth) {
        --runtime_.depth_;
        runtime_.too_deep();
      }
    }
    ~Nested() { --runtime_.depth_; }
    Nested(const Nested&) = delete;

   private:
    Runtime& runtime_;
  };

 private:
  [[noreturn]] void raise(ErrorKind kind, const std::string& message) const;
  [[noreturn]] void out_of_steps() const;
  [[noreturn]] void out_of_memory() const;
  [[noreturn]] void out_of_output() const;
  [[noreturn]] void too_deep() const;
  [[noreturn]] void too_deep_value() const;

  std::string name_;
  Budget budget_;
  std::uint64_t steps_ = 0;
  std::uint64_t made_ = 0;
  int depth_ = 0;
};

}  // namespace conclave::text::jinja

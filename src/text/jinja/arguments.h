// Arguments of a call bound to named parameters, as Python binds them.
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"
#include "text/jinja/value.h"

namespace conclave::text::jinja {

class Arguments {
 public:
  // The first `required` parameters must be given.
  Arguments(Runtime& rt, std::string_view callable, const Args& args,
            std::initializer_list<std::string_view> names, std::size_t required = 0);

  bool has(std::size_t i) const { return given_[i]; }
  const Value& operator[](std::size_t i) const { return values_[i]; }
  // Given, and not None.
  bool set(std::size_t i) const { return given_[i] && !values_[i].is(Kind::kNone); }
  bool flag(std::size_t i, bool otherwise) const {
    return given_[i] ? truth(values_[i]) : otherwise;
  }
  std::int64_t index(std::size_t i, std::int64_t otherwise) const {
    return given_[i] ? as_index(rt_, values_[i]) : otherwise;
  }
  // A string, or an error.
  const MarkedText& text(std::size_t i) const;

 private:
  Runtime& rt_;
  std::string_view callable_;
  std::vector<Value> values_;
  std::vector<bool> given_;
};

}  // namespace conclave::text::jinja

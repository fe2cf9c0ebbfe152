#include "text/jinja/json_value.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"

namespace conclave::text::jinja {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxLevels = 80;  // below kMaxValueDepth: templates put values into lists

// Builds containers from the inside out.
class Builder final : public nlohmann::json_sax<json> {
 public:
  Builder(Runtime& rt, Origin origin) : rt_(rt), origin_(origin) {}

  bool null() override { return put(Value::none()); }
  bool boolean(bool value) override { return put(Value::boolean(value)); }
  bool number_integer(std::int64_t value) override { return put(Value::integer(value)); }
  bool number_unsigned(std::uint64_t value) override {
    if (value <= INT64_MAX) return put(Value::integer(static_cast<std::int64_t>(value)));
    return put(Value::integer(BigInt::from_digits(std::to_string(value), 10)));
  }
  bool number_float(double value, const std::string& text) override {
    if (text.find_first_not_of("-0123456789") != std::string::npos) {
      return put(Value::real(value));
    }
    if (text.size() > 4300) return refuse("a whole number of more than 4300 digits");
    const bool negative = text[0] == '-';
    const BigInt number = BigInt::from_digits(std::string_view(text).substr(negative), 10);
    return put(Value::integer(negative ? -number : number));
  }
  bool string(std::string& value) override { return put(Value::string(value, origin_)); }
  bool binary(json::binary_t&) override { return refuse("binary data"); }

  bool start_object(std::size_t) override { return open(true); }
  bool start_array(std::size_t) override { return open(false); }
  bool key(std::string& name) override {
    open_.back().key = Value::string(name, origin_);
    return true;
  }
  bool end_object() override {
    Value value = Value::dict(std::move(open_.back().dict));
    open_.pop_back();
    return put(std::move(value));
  }
  bool end_array() override {
    Value value = Value::list(std::move(open_.back().items));
    open_.pop_back();
    return put(std::move(value));
  }
  bool parse_error(std::size_t, const std::string&, const json::exception& found) override {
    std::string_view text = found.what();
    if (const auto end = text.find("] "); text.starts_with('[') && end != text.npos) {
      text.remove_prefix(end + 2);
    }
    return refuse("not JSON: " + std::string(text.substr(0, 200)));
  }

  Value result;
  std::string error;

 private:
  struct Open {
    std::shared_ptr<DictObject> dict;  // null for a list
    std::vector<Value> items;
    Value key;
  };

  bool refuse(std::string message) {
    error = std::move(message);
    return false;
  }

  bool open(bool object) {
    if (open_.size() == kMaxLevels) {
      return refuse(fmt::format("nested deeper than {} levels", kMaxLevels));
    }
    open_.emplace_back();
    if (object) open_.back().dict = std::make_shared<DictObject>();
    return true;
  }

  bool put(Value value) {
    if (open_.empty()) {
      result = std::move(value);
    } else if (open_.back().dict) {
      dict_set(rt_, *open_.back().dict, open_.back().key, value);
    } else {
      open_.back().items.push_back(std::move(value));
    }
    return true;
  }

  Runtime& rt_;
  Origin origin_;
  std::vector<Open> open_;
};

}  // namespace

Value parse_json_value(std::string_view text, const std::string& name, Origin origin) {
  if (const auto at = text.find('\0'); at != text.npos) {
    fail(ErrorKind::kBadFile, "{}: not JSON: a NUL byte at offset {}", name, at);
  }
  // Each byte of JSON makes a bounded number of steps and bytes.
  Budget budget;
  budget.steps = 1000 + 16 * text.size();
  budget.made_bytes = 1000 + 256 * text.size();
  Runtime rt(name, budget);
  Builder builder(rt, origin);
  if (!json::sax_parse(text.begin(), text.end(), &builder)) {
    fail(ErrorKind::kBadFile, "{}: {}", name, builder.error);
  }
  return builder.result;
}

}  // namespace conclave::text::jinja

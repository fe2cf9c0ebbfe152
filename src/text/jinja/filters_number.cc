// Filters on numbers.
#include <cmath>

#include "text/jinja/arguments.h"
#include "text/jinja/filter_table.h"
#include "text/jinja/number_text.h"
#include "text/jinja/operators.h"
#include "text/jinja/printing.h"

namespace conclave::text::jinja {
namespace {

Value int_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "int", args, {"default", "base"});
  const Value otherwise = a.has(0) ? a[0] : Value::integer(0);
  if (input.is_undefined()) undefined_error(rt, input);
  std::optional<double> real;
  if (input.is_string()) {
    const std::int64_t base = a.index(1, 10);
    if (base == 0 || (base >= 2 && base <= 36)) {
      const auto whole = read_integer(rt, input.bytes(), static_cast<int>(base));
      if (whole) return Value::integer(*whole);
    }
    real = read_real(input.bytes());
    if (real && !std::isfinite(*real)) real.reset();
  } else if (input.is_integer()) {
    return input.is(Kind::kBool) ? Value::integer(input.integer()) : input;
  } else if (input.is(Kind::kFloat)) {
    if (std::isinf(input.real())) rt.error("cannot convert float infinity to integer");
    if (!std::isnan(input.real())) real = input.real();
  }
  return real ? Value::integer(BigInt::from_double(*real)) : otherwise;
}

Value float_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "float", args, {"default"});
  if (input.is_undefined()) undefined_error(rt, input);
  std::optional<double> real;
  if (input.is_string()) real = read_real(input.bytes());
  if (input.is_number()) real = as_double(rt, input);
  if (real) return Value::real(*real);
  return a.has(0) ? a[0] : Value::real(0);
}

Value abs_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "abs", args, {});
  if (!input.is_number()) rt.error("bad operand type for abs(): '{}'", type_name(input));
  if (input.is(Kind::kFloat)) return Value::real(std::fabs(input.real()));
  const BigInt value = as_big_int(input);
  return Value::integer(value.negative() ? -value : value);
}

// round(value, digits) of a float: the nearest decimal of the exact value, ties to even.
double round_real(double value, std::int64_t digits) {
  if (!std::isfinite(value) || digits > 340) return value;
  if (digits < -310) return std::copysign(0.0, value);
  if (digits >= 0) {
    const std::string text = fmt::format("{:.{}f}", value, digits);
    return std::strtod(text.c_str(), nullptr);
  }
  const double scale = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(value / scale) * scale;
}

Value round_whole(Runtime& rt, const Value& input, std::int64_t digits) {
  const BigInt value = as_big_int(input);
  if (digits >= 0) return Value::integer(value);
  if (digits < -4000) return Value::integer(0);
  Value scale = arithmetic(rt, Operator::kPower, Value::integer(10), Value::integer(-digits));
  const auto [quotient, rest] = BigInt::divide(value, as_big_int(scale));
  const int order = BigInt::compare(rest + rest, as_big_int(scale));
  const bool odd = !BigInt::divide(quotient, BigInt(2)).second.zero();
  const bool up = order > 0 || (order == 0 && odd);
  return Value::integer((up ? quotient + BigInt(1) : quotient) * as_big_int(scale));
}

Value round_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "round", args, {"precision", "method"});
  const std::int64_t precision = a.index(0, 0);
  const std::string method = a.has(1) ? a.text(1).bytes() : "common";
  if (method != "common" && method != "ceil" && method != "floor") {
    rt.error("method must be common, ceil or floor");
  }
  if (input.is_undefined()) undefined_error(rt, input);
  if (!input.is_number()) {
    rt.error("type {} doesn't define __round__ method", type_name(input));
  }
  if (method == "common") {
    return input.is_integer() ? round_whole(rt, input, precision)
                              : Value::real(round_real(input.real(), precision));
  }
  const Value scale =
      arithmetic(rt, Operator::kPower, Value::integer(10), Value::integer(precision));
  Value scaled = arithmetic(rt, Operator::kMultiply, input, scale);
  if (scaled.is(Kind::kFloat)) {
    const double real = scaled.real();
    if (!std::isfinite(real)) rt.error("cannot convert float {} to integer", float_text(real));
    scaled =
        Value::integer(BigInt::from_double(method == "ceil" ? std::ceil(real) : std::floor(real)));
  }
  return arithmetic(rt, Operator::kDivide, scaled, scale);
}

Value sum_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "sum", args, {"attribute", "start"});
  std::optional<AttributePath> path;
  if (a.set(0)) path.emplace(rt, a[0]);
  Value out = a.has(1) ? a[1] : Value::integer(0);
  if (out.is_string()) rt.error("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : iterate(rt, input)) {
    out = arithmetic(rt, Operator::kAdd, out, path ? path->of(rt, item) : item);
  }
  return rt.checked(out);
}

Value filesizeformat_filter(Runtime& rt, const Value& input, const Args& args) {
  const Arguments a(rt, "filesizeformat", args, {"binary"});
  const bool binary = a.flag(0, false);
  const Value real = float_filter(rt, input, {});
  if (!input.is_number() && !(input.is_string() && read_real(input.bytes()))) {
    rt.error("could not convert {} to a size", type_name(input));
  }
  const double bytes = real.real();
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) return rt.make_string("1 Byte");
  if (bytes < base)
    return rt.make_string(fmt::format("{} Bytes", static_cast<std::int64_t>(bytes)));
  static constexpr std::string_view kPrefixes = "kMGTPEZY";
  double unit = base;
  std::size_t i = 0;
  for (;; ++i) {
    unit *= base;
    if (bytes < unit || i + 1 == kPrefixes.size()) break;
  }
  std::string prefix(1, kPrefixes[i]);
  if (binary) prefix = (i == 0 ? "K" : prefix) + "i";
  return rt.make_string(fmt::format("{:.1f} {}B", base * bytes / unit, prefix));
}

}  // namespace

void add_number_filters(FilterTable& table) {
  table.insert({{"int", int_filter},
                {"float", float_filter},
                {"abs", abs_filter},
                {"round", round_filter},
                {"sum", sum_filter},
                {"filesizeformat", filesizeformat_filter}});
}

}  // namespace conclave::text::jinja

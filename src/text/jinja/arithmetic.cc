// + - * / // % ** and signs, on numbers, strings and lists.
#include <algorithm>
#include <cmath>

#include "text/jinja/formatting.h"
#include "text/jinja/markup.h"
#include "text/jinja/operators.h"

namespace conclave::text::jinja {
namespace {

const char* symbol(Operator op) {
  switch (op) {
    case Operator::kAdd:
      return "+";
    case Operator::kSubtract:
      return "-";
    case Operator::kMultiply:
      return "*";
    case Operator::kDivide:
      return "/";
    case Operator::kFloorDivide:
      return "//";
    case Operator::kModulo:
      return "%";
    default:
      return "** or pow()";
  }
}

[[noreturn]] void wrong_operands(Runtime& rt, Operator op, const Value& a, const Value& b) {
  rt.error("unsupported operand type(s) for {}: '{}' and '{}'", symbol(op), type_name(a),
           type_name(b));
}

Value big(Runtime& rt, const BigInt& value) {
  if (value.bits() > BigInt::kMaxBits) {
    rt.unsupported("a whole number of more than {} bits", BigInt::kMaxBits);
  }
  rt.charge(value.bits() / 8 + 64);
  return Value::integer(value);
}

Value big_power(Runtime& rt, BigInt base, std::int64_t exponent) {
  if (base.bits() > 1 && (exponent > 20'000 || base.bits() * static_cast<std::size_t>(exponent) >
                                                   2 * BigInt::kMaxBits)) {
    rt.unsupported("a whole number of more than {} bits", BigInt::kMaxBits);
  }
  BigInt result(1);
  if (base.bits() <= 1) {  // 0, 1, -1
    if (exponent == 0) return Value::integer(1);
    return Value::integer(base.negative() && exponent % 2 == 0 ? -base : base);
  }
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 == 1) result = result * base;
    if (exponent > 1) base = base * base;
    rt.step(base.bits() / 32);
  }
  return big(rt, result);
}

Value whole(Runtime& rt, Operator op, const BigInt& a, const BigInt& b) {
  switch (op) {
    case Operator::kAdd:
      return big(rt, a + b);
    case Operator::kSubtract:
      return big(rt, a - b);
    case Operator::kMultiply:
      rt.step(a.bits() * b.bits() / 1024 / 1024);
      return big(rt, a * b);
    default:
      break;
  }
  rt.step(a.bits() / 8);
  auto [quotient, rest] = BigInt::divide(a, b);
  return big(rt, op == Operator::kFloorDivide ? quotient : rest);
}

// The floor of a / b and the remainder with b's sign, as Python's float_divmod does it.
double float_modulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0) {
    if ((b < 0) != (rest < 0)) rest += b;
  } else {
    rest = std::copysign(0.0, b);
  }
  return rest;
}

double float_floor_divide(double a, double b) {
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0 && (b < 0) != (rest < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floor = std::floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

Value float_power(Runtime& rt, double a, double b) {
  if (a == 0 && b < 0) rt.error("0.0 cannot be raised to a negative power");
  if (a < 0 && std::isfinite(a) && std::isfinite(b) && std::floor(b) != b) {
    rt.unsupported("a complex number");
  }
  const double result = std::pow(a, b);
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) {
    rt.error("(34, 'Numerical result out of range')");
  }
  return Value::real(result);
}

Value divide(Runtime& rt, const Value& a, const Value& b) {
  const auto exact = [](const Value& v) {
    return v.is(Kind::kFloat) || (!v.is(Kind::kBigInt) && v.integer() <= (std::int64_t{1} << 53) &&
                                  v.integer() >= -(std::int64_t{1} << 53));
  };
  const double x = as_double(rt, a);
  const double y = as_double(rt, b);
  if (y == 0) rt.error("{}division by zero", a.is_integer() && b.is_integer() ? "" : "float ");
  if (a.is_integer() && b.is_integer() && (!exact(a) || !exact(b)) && !a.is(Kind::kBigInt) &&
      !b.is(Kind::kBigInt)) {
    return Value::real(static_cast<double>(static_cast<long double>(a.integer()) /
                                           static_cast<long double>(b.integer())));
  }
  return Value::real(x / y);
}

Value numbers(Runtime& rt, Operator op, const Value& a, const Value& b) {
  if (op == Operator::kDivide) return divide(rt, a, b);
  const bool floats = a.is(Kind::kFloat) || b.is(Kind::kFloat);
  if (op == Operator::kPower) {
    if (floats) return float_power(rt, as_double(rt, a), as_double(rt, b));
    const BigInt exponent = as_big_int(b);
    if (exponent.negative()) {
      if (as_big_int(a).zero()) rt.error("0.0 cannot be raised to a negative power");
      return float_power(rt, as_double(rt, a), as_double(rt, b));
    }
    return big_power(rt, as_big_int(a), exponent.to_int64().value_or(INT64_MAX));
  }
  if (floats) {
    const double x = as_double(rt, a);
    const double y = as_double(rt, b);
    switch (op) {
      case Operator::kAdd:
        return Value::real(x + y);
      case Operator::kSubtract:
        return Value::real(x - y);
      case Operator::kMultiply:
        return Value::real(x * y);
      case Operator::kModulo:
        if (y == 0) rt.error("float modulo");
        return Value::real(float_modulo(x, y));
      default:
        if (y == 0) rt.error("float floor division by zero");
        return Value::real(float_floor_divide(x, y));
    }
  }
  if ((op == Operator::kFloorDivide || op == Operator::kModulo) && !truth(b) &&
      !b.is(Kind::kBigInt)) {
    rt.error("integer {} by zero", op == Operator::kModulo ? "modulo" : "division or modulo");
  }
  if (!a.is(Kind::kBigInt) && !b.is(Kind::kBigInt)) {
    std::int64_t out = 0;
    bool over = false;
    switch (op) {
      case Operator::kAdd:
        over = __builtin_add_overflow(a.integer(), b.integer(), &out);
        break;
      case Operator::kSubtract:
        over = __builtin_sub_overflow(a.integer(), b.integer(), &out);
        break;
      case Operator::kMultiply:
        over = __builtin_mul_overflow(a.integer(), b.integer(), &out);
        break;
      default:
        over = true;  // rare: no fast way
    }
    if (!over) return Value::integer(out);
  }
  return whole(rt, op, as_big_int(a), as_big_int(b));
}

Value repeat(Runtime& rt, const Value& object, const Value& count) {
  const auto times = static_cast<std::uint64_t>(std::max<std::int64_t>(0, as_index(rt, count)));
  const std::uint64_t size =
      object.is_string() ? object.bytes().size() : object.items().size() * sizeof(Value);
  std::uint64_t total = 0;
  if (__builtin_mul_overflow(size, times, &total)) total = UINT64_MAX;
  rt.charge(total);
  rt.step(total / 64);
  if (object.is_string()) {
    MarkedText out;
    out.reserve(total);
    for (std::uint64_t i = 0; i < times && size > 0; ++i) out.append(object.text());
    return Value::string(std::move(out), object.str().markup);
  }
  std::vector<Value> items;
  for (std::uint64_t i = 0; i < times && size > 0; ++i) {
    items.insert(items.end(), object.items().begin(), object.items().end());
  }
  return Value::sequence(object.kind(), std::move(items));
}

Value add(Runtime& rt, const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) {
    if (a.str().markup != b.str().markup) return add_markup(rt, a, b);
    MarkedText out;
    rt.charge(a.bytes().size() + b.bytes().size() + 64);
    out.reserve(a.bytes().size() + b.bytes().size());
    out.append(a.text());
    out.append(b.text());
    return Value::string(std::move(out), a.str().markup);
  }
  if (a.kind() == b.kind() && (a.is(Kind::kList) || a.is(Kind::kTuple))) {
    rt.charge_items(a.items().size() + b.items().size() + 2);
    std::vector<Value> items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    return Value::sequence(a.kind(), std::move(items));
  }
  if (a.is_string()) rt.error("can only concatenate str (not \"{}\") to str", type_name(b));
  if (a.is(Kind::kList) || a.is(Kind::kTuple)) {
    rt.error("can only concatenate {} (not \"{}\") to {}", type_name(a), type_name(b),
             type_name(a));
  }
  wrong_operands(rt, Operator::kAdd, a, b);
}

}  // namespace

BigInt as_big_int(const Value& integer) {
  return integer.is(Kind::kBigInt) ? integer.as<BigIntObject>().value : BigInt(integer.integer());
}

double as_double(Runtime& rt, const Value& number) {
  if (number.is(Kind::kFloat)) return number.real();
  if (!number.is(Kind::kBigInt)) return static_cast<double>(number.integer());
  const double out = number.as<BigIntObject>().value.to_double();
  if (std::isinf(out)) rt.error("int too large to convert to float");
  return out;
}

std::int64_t as_index(Runtime& rt, const Value& value) {
  constexpr std::int64_t kLimit = std::int64_t{1} << 62;
  if (value.is_undefined()) undefined_error(rt, value);
  if (!value.is_integer()) {
    rt.error("'{}' object cannot be interpreted as an integer", type_name(value));
  }
  if (value.is(Kind::kBigInt)) return value.as<BigIntObject>().value.negative() ? -kLimit : kLimit;
  return std::clamp(value.integer(), -kLimit, kLimit);
}

Value arithmetic(Runtime& rt, Operator op, const Value& a, const Value& b) {
  if (op == Operator::kModulo && a.is_string()) return format_percent(rt, a, b);
  if (a.is_undefined()) undefined_error(rt, a);
  if (b.is_undefined()) undefined_error(rt, b);
  if (a.is_number() && b.is_number()) return numbers(rt, op, a, b);
  if (op == Operator::kAdd) return add(rt, a, b);
  if (op == Operator::kMultiply) {
    const auto repeatable = [](const Value& v) {
      return v.is_string() || v.is(Kind::kList) || v.is(Kind::kTuple);
    };
    if (repeatable(a) && b.is_integer()) return repeat(rt, a, b);
    if (repeatable(b) && a.is_integer()) return repeat(rt, b, a);
    if (repeatable(a) || repeatable(b)) {
      rt.error("can't multiply sequence by non-int of type '{}'", type_name(repeatable(a) ? b : a));
    }
  }
  wrong_operands(rt, op, a, b);
}

Value negative(Runtime& rt, const Value& value) {
  if (value.is_undefined()) undefined_error(rt, value);
  if (value.is(Kind::kFloat)) return Value::real(-value.real());
  if (!value.is_integer()) rt.error("bad operand type for unary -: '{}'", type_name(value));
  return Value::integer(-as_big_int(value));
}

Value positive(Runtime& rt, const Value& value) {
  if (value.is_undefined()) undefined_error(rt, value);
  if (!value.is_number()) rt.error("bad operand type for unary +: '{}'", type_name(value));
  return value.is(Kind::kBool) ? Value::integer(value.integer()) : value;
}

}  // namespace conclave::text::jinja

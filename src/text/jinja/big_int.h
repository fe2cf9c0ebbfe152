// Whole numbers beyond 64 bits, for the integer arithmetic of templates. Bounded: what would have
// more than kMaxBits bits is refused by the caller (operators.cc), so that no operation is slow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conclave::text::jinja {

class BigInt {
 public:
  static constexpr std::size_t kMaxBits = 14'000;  // 4300 digits is where Python stops printing

  BigInt() = default;
  BigInt(std::int64_t value);  // NOLINT: a number is a number
  // Digits of base 2 to 36, lower or upper case, nothing else.
  static BigInt from_digits(std::string_view digits, int base);
  // Towards zero; `value` is finite.
  static BigInt from_double(double value);

  std::optional<std::int64_t> to_int64() const;
  double to_double() const;  // correctly rounded; infinity beyond the range
  std::string to_string() const;
  bool negative() const { return negative_; }
  bool zero() const { return limbs_.empty(); }
  std::size_t bits() const;  // of the magnitude

  BigInt operator-() const;
  friend BigInt operator+(const BigInt& a, const BigInt& b);
  friend BigInt operator-(const BigInt& a, const BigInt& b) { return a + -b; }
  friend BigInt operator*(const BigInt& a, const BigInt& b);
  // Python's // and %: the quotient is rounded down, the remainder has b's sign. b is not zero.
  static std::pair<BigInt, BigInt> divide(const BigInt& a, const BigInt& b);
  // <0, 0, >0
  static int compare(const BigInt& a, const BigInt& b);

 private:
  static int compare_magnitude(const BigInt& a, const BigInt& b);
  void trim();

  bool negative_ = false;
  std::vector<std::uint32_t> limbs_;  // lowest first, no zero at the top
};

}  // namespace conclave::text::jinja

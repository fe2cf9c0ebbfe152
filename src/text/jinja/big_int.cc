#include "text/jinja/big_int.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>

namespace conclave::text::jinja {

BigInt::BigInt(std::int64_t value) : negative_(value < 0) {
  auto rest = static_cast<std::uint64_t>(value);
  if (negative_) rest = ~rest + 1;
  for (; rest != 0; rest >>= 32) limbs_.push_back(static_cast<std::uint32_t>(rest));
}

void BigInt::trim() {
  while (!limbs_.empty() && limbs_.back() == 0) limbs_.pop_back();
  if (limbs_.empty()) negative_ = false;
}

BigInt BigInt::from_digits(std::string_view digits, int base) {
  BigInt out;
  for (const char c : digits) {
    std::uint64_t carry = static_cast<std::uint64_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    for (std::uint32_t& limb : out.limbs_) {
      carry += std::uint64_t{limb} * static_cast<std::uint64_t>(base);
      limb = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
    if (carry != 0) out.limbs_.push_back(static_cast<std::uint32_t>(carry));
  }
  out.trim();
  return out;
}

BigInt BigInt::from_double(double value) {
  int exponent = 0;
  const double fraction = std::frexp(std::trunc(value), &exponent);
  const auto mantissa = static_cast<std::int64_t>(std::ldexp(fraction, 53));
  BigInt out(mantissa);
  if (exponent <= 53) {  // no bits are lost: the value is whole
    return BigInt(static_cast<std::int64_t>(std::trunc(value)));
  }
  const int shift = exponent - 53;
  for (int i = 0; i < shift / 30; ++i) out = out * BigInt(std::int64_t{1} << 30);
  return out * BigInt(std::int64_t{1} << (shift % 30));
}

std::optional<std::int64_t> BigInt::to_int64() const {
  if (limbs_.size() > 2) return std::nullopt;
  std::uint64_t magnitude = 0;
  for (std::size_t i = limbs_.size(); i-- > 0;) magnitude = (magnitude << 32) | limbs_[i];
  const std::uint64_t limit = std::uint64_t{1} << 63;
  if (magnitude > limit || (magnitude == limit && !negative_)) return std::nullopt;
  return static_cast<std::int64_t>(negative_ ? ~magnitude + 1 : magnitude);
}

double BigInt::to_double() const {
  if (bits() <= 63) return static_cast<double>(*to_int64());
  // strtod rounds correctly, and this is rare.
  return std::strtod(to_string().c_str(), nullptr);
}

std::string BigInt::to_string() const {
  if (zero()) return "0";
  std::string out;
  std::vector<std::uint32_t> rest = limbs_;
  while (!rest.empty()) {
    std::uint64_t remainder = 0;
    for (std::size_t i = rest.size(); i-- > 0;) {
      remainder = (remainder << 32) | rest[i];
      rest[i] = static_cast<std::uint32_t>(remainder / 1'000'000'000);
      remainder %= 1'000'000'000;
    }
    while (!rest.empty() && rest.back() == 0) rest.pop_back();
    for (int i = 0; i < 9 && (remainder != 0 || !rest.empty()); ++i, remainder /= 10) {
      out.push_back(static_cast<char>('0' + remainder % 10));
    }
  }
  if (negative_) out.push_back('-');
  std::reverse(out.begin(), out.end());
  return out;
}

std::size_t BigInt::bits() const {
  if (limbs_.empty()) return 0;
  return limbs_.size() * 32 - static_cast<std::size_t>(std::countl_zero(limbs_.back()));
}

BigInt BigInt::operator-() const {
  BigInt out = *this;
  if (!out.zero()) out.negative_ = !negative_;
  return out;
}

int BigInt::compare_magnitude(const BigInt& a, const BigInt& b) {
  if (a.limbs_.size() != b.limbs_.size()) return a.limbs_.size() < b.limbs_.size() ? -1 : 1;
  for (std::size_t i = a.limbs_.size(); i-- > 0;) {
    if (a.limbs_[i] != b.limbs_[i]) return a.limbs_[i] < b.limbs_[i] ? -1 : 1;
  }
  return 0;
}

int BigInt::compare(const BigInt& a, const BigInt& b) {
  if (a.negative_ != b.negative_) return a.negative_ ? -1 : 1;
  const int order = compare_magnitude(a, b);
  return a.negative_ ? -order : order;
}

BigInt operator+(const BigInt& a, const BigInt& b) {
  BigInt out;
  const BigInt* big = &a;
  const BigInt* small = &b;
  if (BigInt::compare_magnitude(a, b) < 0) std::swap(big, small);
  out.negative_ = big->negative_;
  const bool subtract = a.negative_ != b.negative_;
  std::int64_t carry = 0;
  for (std::size_t i = 0; i < big->limbs_.size(); ++i) {
    const std::int64_t other = i < small->limbs_.size() ? small->limbs_[i] : 0;
    carry += static_cast<std::int64_t>(big->limbs_[i]) + (subtract ? -other : other);
    out.limbs_.push_back(static_cast<std::uint32_t>(carry));
    carry >>= 32;
  }
  if (carry != 0) out.limbs_.push_back(static_cast<std::uint32_t>(carry));
  out.trim();
  return out;
}

BigInt operator*(const BigInt& a, const BigInt& b) {
  BigInt out;
  out.negative_ = a.negative_ != b.negative_;
  out.limbs_.assign(a.limbs_.size() + b.limbs_.size(), 0);
  for (std::size_t i = 0; i < a.limbs_.size(); ++i) {
    std::uint64_t carry = 0;
    for (std::size_t j = 0; j < b.limbs_.size(); ++j) {
      carry += std::uint64_t{a.limbs_[i]} * b.limbs_[j] + out.limbs_[i + j];
      out.limbs_[i + j] = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
    out.limbs_[i + b.limbs_.size()] = static_cast<std::uint32_t>(carry);
  }
  out.trim();
  return out;
}

std::pair<BigInt, BigInt> BigInt::divide(const BigInt& a, const BigInt& b) {
  BigInt quotient, rest;  // of the magnitudes, bit by bit: numbers are short
  BigInt divisor = b;
  divisor.negative_ = false;
  quotient.limbs_.assign(a.limbs_.size(), 0);
  for (std::size_t i = a.bits(); i-- > 0;) {
    std::uint32_t carry = (a.limbs_[i / 32] >> (i % 32)) & 1;
    for (std::uint32_t& limb : rest.limbs_) {
      const std::uint32_t next = limb >> 31;
      limb = (limb << 1) | carry;
      carry = next;
    }
    if (carry != 0) rest.limbs_.push_back(carry);
    if (compare_magnitude(rest, divisor) >= 0) {
      rest = rest - divisor;
      quotient.limbs_[i / 32] |= std::uint32_t{1} << (i % 32);
    }
  }
  quotient.trim();
  quotient.negative_ = !quotient.zero() && a.negative_ != b.negative_;
  if (a.negative_) rest = -rest;
  if (!rest.zero() && a.negative_ != b.negative_) {
    quotient = quotient - BigInt(1);
    rest = rest + b;
  }
  return {std::move(quotient), std::move(rest)};
}

}  // namespace conclave::text::jinja

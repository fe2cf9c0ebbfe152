// The one reader under every binary parser: little endian, every size checked against the bytes
// that are left before anything is allocated, every error an Error(kBadFile) with file and offset.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "sys/files.h"

namespace conclave::io {

class BoundedReader {
 public:
  // Over bytes in memory, borrowed; `name` stands for the file in messages.
  BoundedReader(std::span<const std::byte> bytes, std::string name);
  // Over a file, borrowed, from `offset`, through a window of 64 KiB.
  explicit BoundedReader(const sys::File& file, std::uint64_t offset = 0);

  std::uint64_t offset() const { return window_offset_ + position_; }
  std::uint64_t size() const { return size_; }
  std::uint64_t remaining() const { return size_ - offset(); }
  const std::string& name() const { return name_; }

  // A little-endian integer or IEEE number. `what` names the field in errors.
  template <class T>
  T number(const char* what) {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    T value;
    read(std::as_writable_bytes(std::span<T, 1>(&value, 1)), what);
    return value;
  }
  std::uint8_t u8(const char* what) { return number<std::uint8_t>(what); }
  std::uint16_t u16(const char* what) { return number<std::uint16_t>(what); }
  std::uint32_t u32(const char* what) { return number<std::uint32_t>(what); }
  std::uint64_t u64(const char* what) { return number<std::uint64_t>(what); }

  // Fills `out`.
  void read(std::span<std::byte> out, const char* what);
  // `bytes` bytes as a string, at most `limit`; the bound is checked before memory is taken.
  std::string text(std::uint64_t bytes, std::uint64_t limit, const char* what);
  void skip(std::uint64_t bytes, const char* what);
  // To the next multiple of `alignment` (a power of two) of the offset.
  void align(std::uint64_t alignment, const char* what);
  // Reports unless `count` items of at least `bytes_each` bytes can still be in the file.
  void expect_room(std::uint64_t count, std::uint64_t bytes_each, const char* what) const;

  // Throws Error(kBadFile): "NAME: at byte OFFSET: MESSAGE".
  [[noreturn]] void fail_here(const std::string& message) const;

 private:
  void refill();

  const sys::File* file_ = nullptr;
  std::string name_;
  std::vector<std::byte> buffer_;
  std::span<const std::byte> window_;
  std::uint64_t window_offset_ = 0;
  std::uint64_t position_ = 0;  // within the window
  std::uint64_t size_ = 0;
};

}  // namespace conclave::io

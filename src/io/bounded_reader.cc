#include "io/bounded_reader.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace conclave::io {

static_assert(std::endian::native == std::endian::little, "files are read without byte swaps");

namespace {
constexpr std::size_t kWindow = 64 << 10;
}

BoundedReader::BoundedReader(std::span<const std::byte> bytes, std::string name)
    : name_(std::move(name)), window_(bytes), size_(bytes.size()) {}

BoundedReader::BoundedReader(const sys::File& file, std::uint64_t offset)
    : file_(&file), name_(file.path()), window_offset_(offset), size_(file.size()) {
  if (offset > size_) fail_here(fmt::format("the file has only {} bytes", size_));
}

void BoundedReader::fail_here(const std::string& message) const {
  fail(ErrorKind::kBadFile, "{}: at byte {}: {}", name_, offset(), message);
}

void BoundedReader::expect_room(std::uint64_t count, std::uint64_t bytes_each,
                                const char* what) const {
  std::uint64_t bytes;
  if (__builtin_mul_overflow(count, bytes_each, &bytes) || bytes > remaining()) {
    fail_here(fmt::format("{}: needs {} x {} bytes, the file has {} left", what, count, bytes_each,
                          remaining()));
  }
}

void BoundedReader::refill() {
  window_offset_ += position_;
  position_ = 0;
  buffer_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kWindow, remaining())));
  file_->read(window_offset_, buffer_);
  window_ = buffer_;
}

void BoundedReader::read(std::span<std::byte> out, const char* what) {
  expect_room(out.size(), 1, what);
  while (!out.empty()) {
    if (position_ == window_.size()) refill();
    const std::size_t take = std::min<std::size_t>(out.size(), window_.size() - position_);
    std::memcpy(out.data(), window_.data() + position_, take);
    position_ += take;
    out = out.subspan(take);
  }
}

std::string BoundedReader::text(std::uint64_t bytes, std::uint64_t limit, const char* what) {
  if (bytes > limit) {
    fail_here(fmt::format("{}: has {} bytes, more than the {} allowed", what, bytes, limit));
  }
  expect_room(bytes, 1, what);
  std::string value(static_cast<std::size_t>(bytes), '\0');
  read(std::as_writable_bytes(std::span(value)), what);
  return value;
}

void BoundedReader::skip(std::uint64_t bytes, const char* what) {
  expect_room(bytes, 1, what);
  if (bytes <= window_.size() - position_) {
    position_ += bytes;
    return;
  }
  window_offset_ += position_ + bytes;  // beyond the window, so there is a file behind it
  position_ = 0;
  window_ = {};
}

void BoundedReader::align(std::uint64_t alignment, const char* what) {
  CONCLAVE_CHECK(std::has_single_bit(alignment), "alignment {}", alignment);
  skip((alignment - offset() % alignment) % alignment, what);
}

}  // namespace conclave::io

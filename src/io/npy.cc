#include "io/npy.h"

#include <charconv>
#include <limits>

#include "base/error.h"
#include "io/bounded_reader.h"

namespace conclave::io {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

// "(2, 3)" or "(6,)" after 'shape': of the header.
NpyMatrix parse_shape(const std::string& header, const BoundedReader& reader) {
  const std::size_t at = header.find("'shape': (");
  if (at == std::string::npos) reader.fail_here("the header has no shape");
  const char* next = header.data() + at + 10;
  const char* const end = header.data() + header.size();
  std::int64_t dims[2] = {1, 1};
  int rank = 0;
  while (next != end && *next != ')') {
    if (*next == ',' || *next == ' ') {
      ++next;
      continue;
    }
    if (rank == 2) reader.fail_here("more than two dimensions");
    const auto [rest, error] = std::from_chars(next, end, dims[rank]);
    if (error != std::errc() || dims[rank] < 0) reader.fail_here("a bad shape");
    next = rest;
    ++rank;
  }
  if (next == end || rank == 0) reader.fail_here("a bad shape");
  NpyMatrix matrix;
  matrix.rows = rank == 2 ? dims[0] : 1;
  matrix.cols = rank == 2 ? dims[1] : dims[0];
  return matrix;
}

}  // namespace

void write_npy(const std::string& path, MatrixView<const float> matrix_RC, sys::FileOps& ops) {
  std::string header =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", matrix_RC.rows,
                  matrix_RC.cols);
  // Magic, version, length, text and newline fill a multiple of 64 bytes.
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 11, ' ');
  header += '\n';
  const auto length = static_cast<std::uint16_t>(header.size());
  sys::write_file_atomically(
      path,
      [&](sys::AtomicFile& file) {
        file.write(kMagic);
        file.write(std::string_view("\x01\x00", 2));
        file.write(std::as_bytes(std::span(&length, 1)));
        file.write(header);
        for (std::int64_t r = 0; r < matrix_RC.rows; ++r) {
          file.write(
              std::as_bytes(std::span(matrix_RC.row(r), static_cast<std::size_t>(matrix_RC.cols))));
        }
      },
      ops);
}

NpyMatrix read_npy(const std::string& path) {
  const sys::File file(path);
  BoundedReader reader(file);
  if (reader.text(6, 6, "magic") != kMagic) reader.fail_here("not a .npy file");
  const std::uint16_t version = reader.u16("version");
  const std::uint64_t length = (version & 0xff) == 1 ? reader.u16("header") : reader.u32("header");
  const std::string header = reader.text(length, 1 << 16, "header");
  if (header.find("'descr': '<f4'") == std::string::npos ||
      header.find("'fortran_order': False") == std::string::npos) {
    reader.fail_here("not a matrix of little-endian f32 in C order");
  }
  NpyMatrix matrix = parse_shape(header, reader);
  const std::int64_t dims[2] = {matrix.rows, matrix.cols};
  const std::int64_t count =
      with_context(path, [&] { return checked_count(dims, std::numeric_limits<int>::max()); });
  if (reader.remaining() != static_cast<std::uint64_t>(count) * sizeof(float)) {
    reader.fail_here(fmt::format("{} bytes of data for {} x {} floats", reader.remaining(),
                                 matrix.rows, matrix.cols));
  }
  matrix.values.resize(static_cast<std::size_t>(count));
  reader.read(std::as_writable_bytes(std::span(matrix.values)), "data");
  return matrix;
}

}  // namespace conclave::io

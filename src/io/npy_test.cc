#include "io/npy.h"

#include <gtest/gtest.h>

#include "io/testing.h"
#include "sys/testing.h"

namespace conclave::io {
namespace {

using conclave::testing::slurp;
using conclave::testing::TempDir;

TEST(Npy, ReadsWhatItWrites) {
  const TempDir dir;
  std::vector<float> values(5 * 8);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.5f * static_cast<float>(i);
  write_npy(dir / "a.npy", MatrixView<const float>(values.data(), 5, 3, 8));
  const NpyMatrix got = read_npy(dir / "a.npy");
  EXPECT_EQ(got.rows, 5);
  EXPECT_EQ(got.cols, 3);
  for (int r = 0; r < 5; ++r) {
    for (int c = 0; c < 3; ++c) EXPECT_EQ(got.values[r * 3 + c], values[r * 8 + c]);
  }
  write_npy(dir / "b.npy", MatrixView<const float>(values.data(), 0, 3));
  EXPECT_EQ(read_npy(dir / "b.npy").rows, 0);
}

// The form of numpy/lib/format.py, byte by byte.
TEST(Npy, HeaderIsNumpys) {
  const TempDir dir;
  const float value = 1.0f;
  write_npy(dir / "a.npy", MatrixView<const float>(&value, 1, 1));
  const std::string text = slurp(dir / "a.npy");
  ASSERT_EQ(text.size(), 132u);
  EXPECT_EQ(text.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  EXPECT_EQ(text.substr(10, 59), "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), }");
  EXPECT_EQ(text[127], '\n');
}

TEST(Npy, DamageIsAnError) {
  const TempDir dir;
  const std::vector<float> values(12, 1.0f);
  write_npy(dir / "a.npy", MatrixView<const float>(values.data(), 4, 3));
  const std::string good = slurp(dir / "a.npy");
  for (std::size_t size = 0; size < good.size(); ++size) {
    const std::string path = dir.put("b.npy", good.substr(0, size));
    EXPECT_ERROR(read_npy(path), ErrorKind::kBadFile, "b.npy");
  }
  for (const char* shape :
       {"(4)", "(-4, 3)", "(4, 3, 1)", "()", "(x)", "(99999999999, 99999999999)",
        "(9223372036854775807, 2)", "(99999999999999999999, 3)", "(4, 3"}) {
    std::string bad = good;
    bad.replace(bad.find("(4, 3), }"), 9, std::string(shape) + ", }");
    EXPECT_ERROR(read_npy(dir.put("b.npy", bad)), ErrorKind::kBadFile, "b.npy");
  }
  for (std::uint64_t n = 0; n < 2000; ++n) {
    try {
      read_npy(dir.put("b.npy", testing::mutate(good, n)));
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kBadFile);
    }
  }
}

}  // namespace
}  // namespace conclave::io

#include "models/tensor_place.h"

namespace conclave::models {

TensorPlace TensorPlace::whole(std::string name, const ParamSpec& spec) {
  const auto dims = spec.shape.dims();
  return rows(std::move(name), {dims.begin(), dims.end()}, 0);
}

TensorPlace TensorPlace::rows(std::string name, std::vector<std::int64_t> dims,
                              std::int64_t first_row, std::int64_t row_step) {
  TensorPlace place;
  const std::int64_t cols = dims.back();
  place.name = std::move(name);
  place.dims = std::move(dims);
  place.offset = first_row * cols;
  place.row_stride = row_step * cols;
  return place;
}

std::vector<std::int32_t> halves_from_pairs(int head_dim, int rotary_dim) {
  std::vector<std::int32_t> order;
  for (int i = 0; i < rotary_dim; i += 2) order.push_back(i);
  for (int i = 1; i < rotary_dim; i += 2) order.push_back(i);
  for (int i = rotary_dim; i < head_dim; ++i) order.push_back(i);
  return order;
}

std::vector<std::int32_t> rotary_first(int other_dim, int rotary_dim, bool pairs) {
  std::vector<std::int32_t> order = halves_from_pairs(rotary_dim, pairs ? rotary_dim : 0);
  for (std::int32_t& row : order) row += other_dim;
  for (int i = 0; i < other_dim; ++i) order.push_back(i);
  return order;
}

}  // namespace conclave::models

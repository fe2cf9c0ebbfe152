#include "nn/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace conclave::nn {
namespace {

// YaRN, "NTK by parts" (Peng et al. 2023, section 3.2): pairs that turn often within the original
// context keep their frequency, pairs that turn seldom are interpolated, a ramp lies between.
void scale_yarn(const RopeConfig& rope, int rotary_dim, std::vector<float>& frequencies) {
  const RopeScaling& s = rope.scaling;
  const double dim = rotary_dim;
  const auto pair_of = [&](double turns) {
    return dim *
           std::log(static_cast<double>(s.original_positions) / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  double low = pair_of(s.beta_fast), high = pair_of(s.beta_slow);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const auto ramp =
        static_cast<float>(std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0));
    const double period = std::pow(rope.theta, 2.0 * static_cast<double>(i) / dim);
    const auto interpolated = static_cast<float>(1.0 / (s.factor * period));
    frequencies[i] = interpolated * ramp + frequencies[i] * (1 - ramp);
  }
}

void scale_by_wavelength(const RopeScaling& s, std::vector<float>& frequencies) {
  const auto original = static_cast<double>(s.original_positions);
  for (float& f : frequencies) {
    const double wavelength = 2 * std::numbers::pi / static_cast<double>(f);
    if (wavelength < original / s.high_freq_factor) continue;
    if (wavelength > original / s.low_freq_factor) {
      f = static_cast<float>(static_cast<double>(f) / s.factor);
      continue;
    }
    const double smooth =
        (original / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
    f = static_cast<float>((1 - smooth) * static_cast<double>(f) / s.factor +
                           smooth * static_cast<double>(f));
  }
}

}  // namespace

std::vector<float> rope_frequencies(const RopeConfig& rope, int rotary_dim, bool long_sequence) {
  const RopeScaling& s = rope.scaling;
  const double theta = static_cast<double>(static_cast<float>(rope.theta));  // as files keep it
  std::vector<float> frequencies(static_cast<std::size_t>(rotary_dim / 2));
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    double period = std::pow(theta, 2.0 * static_cast<double>(i) / rotary_dim);
    if (s.kind == RopeScalingKind::kLongRope) {
      const double factor = (long_sequence ? s.long_factors : s.short_factors)[i];
      period *= static_cast<double>(static_cast<float>(factor));  // files differ in precision
    }
    if (s.kind == RopeScalingKind::kLinear) period *= s.factor;
    frequencies[i] = static_cast<float>(1.0 / period);
  }
  if (s.kind == RopeScalingKind::kFactors) {
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
      frequencies[i] /= static_cast<float>(s.short_factors[i]);
    }
  }
  if (s.kind == RopeScalingKind::kYarn) scale_yarn(rope, rotary_dim, frequencies);
  if (s.kind == RopeScalingKind::kWavelength) scale_by_wavelength(s, frequencies);
  return frequencies;
}

RopeAngles::RopeAngles(const RopeConfig& rope, int rotary_dim) : rotary_dim_(rotary_dim) {
  const RopeScaling& s = rope.scaling;
  sets_[0].frequencies = rope_frequencies(rope, rotary_dim, false);
  sets_[0].magnitude = static_cast<double>(static_cast<float>(s.magnitude));
  if (s.kind != RopeScalingKind::kLongRope) return;
  original_ = s.original_positions;
  sets_[1].frequencies = rope_frequencies(rope, rotary_dim, true);
  sets_[1].magnitude = static_cast<double>(static_cast<float>(s.long_magnitude));
}

// As the reference implementations compute: the angle is a product of two f32.
const ops::RopeTable& RopeAngles::table(std::int64_t positions, bool long_sequence) {
  Set& set = sets_[long_sequence ? 1 : 0];
  if (set.table.positions >= positions) return set.table;
  const std::int64_t old = set.table.positions;
  const std::int64_t count = std::max(positions, std::min<std::int64_t>(2 * old, old + 65536));
  set.cos_sin.resize(static_cast<std::size_t>(count * rotary_dim_));
  const int half = rotary_dim_ / 2;
  for (std::int64_t p = old; p < count; ++p) {
    float* row = set.cos_sin.data() + p * rotary_dim_;
    for (int i = 0; i < half; ++i) {
      const float angle = static_cast<float>(p) * set.frequencies[static_cast<std::size_t>(i)];
      row[i] = static_cast<float>(std::cos(static_cast<double>(angle)) * set.magnitude);
      row[half + i] = static_cast<float>(std::sin(static_cast<double>(angle)) * set.magnitude);
    }
  }
  set.table = {count, rotary_dim_, set.cos_sin};
  return set.table;
}

}  // namespace conclave::nn

// Where a pass spends its time: a clock that charges the calling thread's time to the part of the
// model it is in. A pause within a part (a call of another part) is charged to the inner one, so
// the parts add up to the whole. Off until somebody asks: then a part costs two readings of the
// clock (about 50 ns), else a test of a flag.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>

namespace conclave::ops {

enum class ModelPart {
  kRouter,     // logits, choice, plan
  kPermute,    // rows to experts and back, weighted
  kExperts,    // routed experts
  kAttention,  // rotation, cache, scores and values; all of latent attention
  kDense,      // products around attention, shared experts, layers without experts
  kHead,       // logits
  kRest,       // norms, embedding, and whatever is nowhere else
  kCount
};

class PartClock {
 public:
  using Seconds = std::array<double, static_cast<std::size_t>(ModelPart::kCount)>;

  // Starts at zero, in kRest.
  void start() {
    seconds_.fill(0);
    current_ = ModelPart::kRest;
    on_ = true;
    last_ = Clock::now();
  }
  // Seconds of each part since start.
  Seconds stop() {
    enter(ModelPart::kRest);
    on_ = false;
    return seconds_;
  }

  // While it lives, time is charged to `part`.
  class Scope {
   public:
    Scope(PartClock& clock, ModelPart part) : clock_(clock), outer_(clock.enter(part)) {}
    ~Scope() { clock_.enter(outer_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    PartClock& clock_;
    ModelPart outer_;
  };

 private:
  using Clock = std::chrono::steady_clock;

  // Returns the part that was left.
  ModelPart enter(ModelPart part) {
    const ModelPart left = current_;
    if (!on_) return left;
    const Clock::time_point now = Clock::now();
    seconds_[static_cast<std::size_t>(left)] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
    current_ = part;
    return left;
  }

  bool on_ = false;
  ModelPart current_ = ModelPart::kRest;
  Clock::time_point last_;
  Seconds seconds_{};
};

const char* part_name(ModelPart part);

}  // namespace conclave::ops

#include "infer/grammar/constraint.h"

#include "base/error.h"

namespace conclave::infer::grammar {

Constraint::Constraint(const Builder& builder, RuleId root,
                       std::shared_ptr<const TokenTable> tokens, const ConstraintLimits& limits)
    : tokens_(std::move(tokens)),
      limits_(limits),
      program_(builder, root, limits.program),
      machine_(std::make_unique<Machine>(program_, limits.machine)) {}

std::int64_t Constraint::bytes() const {
  const std::lock_guard lock(mutex_);
  const auto mask = static_cast<std::int64_t>(tokens_->vocab_size() / 8);
  return machine_->bytes() + mask * static_cast<std::int64_t>(masks_.size());
}

Machine::ConfigId Constraint::walk(Machine::ConfigId config, const std::string& bytes) {
  for (const char byte : bytes) {
    if (config == Machine::kDead) break;
    config = machine_->step(config, static_cast<unsigned char>(byte));
  }
  return config;
}

// Begins a new machine where the old one has grown too large, and finds the answer's place in it.
void Constraint::restore(Place& place, const std::string& text) {
  machine_->reset_work();
  if (machine_->bytes() > limits_.machine_bytes) {
    machine_ = std::make_unique<Machine>(program_, limits_.machine);
    masks_.clear();
    first_mask_ = nullptr;
    ++generation_;
  }
  if (place.generation == generation_) return;
  place = {machine_->start(), generation_};
  for (const char byte : text) {
    place.config = machine_->step(place.config, static_cast<unsigned char>(byte));
    machine_->reset_work();
    if (machine_->bytes() > limits_.machine_bytes) {
      fail(ErrorKind::kInvalidArgument, "the grammar takes more than {} bytes for this answer",
           limits_.machine_bytes);
    }
  }
}

Constraint::MaskPtr Constraint::make_mask(Machine::ConfigId config, bool first) {
  const auto& nodes = first ? tokens_->first_nodes() : tokens_->nodes();
  auto mask = std::make_shared<TokenMask>();
  mask->words.resize((static_cast<std::size_t>(tokens_->vocab_size()) + 63) / 64);
  const auto set = [&](std::int32_t id) {
    mask->words[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (id % 64);
    mask->empty = false;
  };
  path_.resize(1);
  path_[0] = config;
  for (std::uint32_t i = 1; i < nodes.size();) {
    const TokenTable::Node& node = nodes[i];
    const Machine::ConfigId next = machine_->step(path_[node.depth - std::size_t{1}], node.byte);
    if (next == Machine::kDead) {
      i = node.end;
      continue;
    }
    if (path_.size() <= node.depth) path_.resize(node.depth + std::size_t{1});
    path_[node.depth] = next;
    if (node.token >= 0) set(node.token);
    ++i;
  }
  for (const auto& [one, other] : first ? tokens_->first_twins() : tokens_->twins()) {
    if (mask->has(one)) set(other);
  }
  if (machine_->may_end(config)) {
    for (const std::int32_t id : tokens_->end_ids()) set(id);
  }
  return mask;
}

ConstraintState::ConstraintState(std::shared_ptr<Constraint> constraint)
    : constraint_(std::move(constraint)) {
  const std::lock_guard lock(constraint_->mutex_);
  constraint_->restore(place_, text_);
  may_end_ = constraint_->machine_->may_end(place_.config);
  must_end_ = constraint_->machine_->must_end(place_.config);
}

std::shared_ptr<const TokenMask> ConstraintState::mask() {
  const std::lock_guard lock(constraint_->mutex_);
  constraint_->restore(place_, text_);
  Constraint::MaskPtr& known =
      first_ ? constraint_->first_mask_ : constraint_->masks_[place_.config];
  Constraint::MaskPtr mask = known;
  if (!mask) {
    const std::int64_t size = constraint_->tokens_->vocab_size() / 8 + 64;
    const auto count = static_cast<std::int64_t>(constraint_->masks_.size());
    mask = constraint_->make_mask(place_.config, first_);
    if (!first_ && count * size > constraint_->limits_.mask_bytes) {
      constraint_->masks_.clear();
      constraint_->masks_[place_.config] = mask;
    } else {
      known = mask;
    }
  }
  if (mask->empty) {
    fail(ErrorKind::kUnsupported,
         "no token of the vocabulary can continue what the grammar asks for");
  }
  return mask;
}

void ConstraintState::accept(std::int32_t id) {
  const std::lock_guard lock(constraint_->mutex_);
  constraint_->restore(place_, text_);
  const std::string& bytes = constraint_->tokens_->bytes(id, first_);
  const Machine::ConfigId next = constraint_->walk(place_.config, bytes);
  if (next == Machine::kDead || bytes.empty()) {
    fail(ErrorKind::kInvalidArgument, "token {} does not fit the grammar", id);
  }
  place_.config = next;
  text_ += bytes;
  first_ = false;
  may_end_ = constraint_->machine_->may_end(next);
  must_end_ = constraint_->machine_->must_end(next);
}

}  // namespace conclave::infer::grammar

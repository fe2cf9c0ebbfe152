// The pre-tokenizer pattern of a trained tokenizer, as it is used in training and written out.
#pragma once

#include <string>

#include "text/bpe_trainer.h"

namespace conclave::text {

std::string trainer_pattern(const BpeTrainerOptions& options);

}  // namespace conclave::text

#include "train/testing.h"

#include <fstream>

#include "base/rng.h"
#include "text/bpe_trainer.h"

namespace conclave::train::testing {
namespace {

namespace fs = std::filesystem;

// Words over an alphabet of its own: what makes two domains easy to tell apart.
std::string made_up_text(char first_letter, std::uint64_t seed, int words) {
  const Rng rng(seed);
  std::string text;
  std::uint64_t n = 0;
  for (int w = 0; w < words; ++w) {
    const auto length = 2 + rng.below(n++, 5);
    for (std::uint64_t i = 0; i < length; ++i) {
      text += static_cast<char>(first_letter + static_cast<char>(rng.below(n++, 8)));
    }
    text += w % 9 == 8 ? '\n' : ' ';
  }
  return text;
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (fs::temp_directory_path() / "conclave-train-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) fail(ErrorKind::kIo, "no temporary folder");
  root_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(root_, ignored);
}

std::vector<std::string> write_texts(const TemporaryFolder& folder) {
  std::vector<std::string> entries;
  for (const auto& [label, letter] : {std::pair{"low", 'a'}, std::pair{"high", 'p'}}) {
    const std::string path = folder.path(std::string(label) + ".txt");
    std::ofstream(path) << made_up_text(letter, static_cast<std::uint64_t>(letter), 1500);
    entries.push_back(std::string(label) + "=" + path);
  }
  return entries;
}

io::Recipe tiny_recipe(const TemporaryFolder& folder) {
  io::Recipe recipe(recipe_table());
  const auto texts = write_texts(folder);
  recipe.set("data.train=[\"" + texts[0] + "\", \"" + texts[1] + "\"]");
  for (const char* key :
       {"model.width=24", "model.layers=2", "model.heads=2", "model.kv_heads=1", "model.head_dim=8",
        "model.context=32", "model.experts=4", "model.expert_width=20", "data.vocab_size=257",
        "train.steps=20", "train.sequence=16", "train.batch=4", "optimizer.warmup_steps=4",
        "optimizer.learning_rate=0.01", "eval.every=0", "checkpoint.every=0"}) {
    recipe.set(key);
  }
  return recipe;
}

std::unique_ptr<Trainer> tiny_trainer(ops::Context& context, const io::Recipe& recipe) {
  TrainConfig config = make_config(recipe);
  text::BpeTrainerOptions options;
  options.vocab_size = 257;
  const text::BpeVocabulary bytes = text::train_bpe({}, options);
  const auto tokenizer = text::Tokenizer::from_json_text(text::to_tokenizer_json(bytes));
  config.model.vocab_size = tokenizer.vocab_size();
  std::vector<LabelledTokens> texts, heldout;
  for (const LabelledFile& file : config.train) texts.push_back(load_labelled(tokenizer, file, 0));
  heldout = texts;
  TrainingData data(std::move(texts), config.sequence, config.seed);
  return std::make_unique<Trainer>(context, config, std::move(data), std::move(heldout));
}

}  // namespace conclave::train::testing

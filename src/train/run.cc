#include "train/run.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/checkpoint.h"
#include "io/text_files.h"
#include "models/model_files.h"
#include "nn/config.h"
#include "sys/files.h"
#include "sys/interrupt.h"
#include "sys/memory.h"
#include "sys/roofline.h"
#include "text/bpe_trainer.h"
#include "train/history.h"
#include "train/progress.h"
#include "train/trainer.h"

namespace conclave::train {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* kEndOfText = "<|endoftext|>";
constexpr std::int64_t kCalibrationSteps = 8;  // timed before the number of steps is chosen

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The tokenizer of the run: what an earlier start of it made, the recipe's, or a new one.
text::Tokenizer prepare_tokenizer(const TrainConfig& config, const fs::path& out, bool resume,
                                  int threads, TrainingProgress& progress) {
  const fs::path file = out / "tokenizer.json";
  if (resume && fs::exists(file)) return text::Tokenizer::load(file);
  if (!config.tokenizer.empty()) {
    const text::Tokenizer tokenizer = text::Tokenizer::load(config.tokenizer);
    const fs::path from = fs::is_directory(config.tokenizer)
                              ? fs::path(config.tokenizer) / "tokenizer.json"
                              : fs::path(config.tokenizer);
    sys::write_file_atomically(file.string(), sys::read_file(from.string(), 1u << 30));
    return tokenizer;
  }
  std::vector<std::string> texts;
  for (const LabelledFile& labelled : config.train)
    texts.push_back(io::read_text_file(labelled.path));
  text::BpeTrainerOptions options;
  options.vocab_size = config.vocab_size;
  options.special_tokens = {kEndOfText};
  options.threads = threads;
  const Clock::time_point start = Clock::now();
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const text::BpeVocabulary vocabulary = text::train_bpe(
      views, options, [](const text::BpeTrainerProgress&) { return !sys::interrupted(); });
  text::write_tokenizer_json(vocabulary, file);
  progress.say(fmt::format("tokenizer: {} tokens learnt in {}", vocabulary.tokens.size(),
                           format_duration(seconds_since(start))));
  return text::Tokenizer::load(file);
}

// Reads every text once before the long work begins: a wrong path or a file that is no text must
// not show up after minutes of learning a tokenizer.
void check_texts(const TrainConfig& config, TrainingProgress& progress) {
  for (const auto* files : {&config.train, &config.heldout}) {
    for (const LabelledFile& file : *files) {
      sys::stop_if_interrupted("reading texts");
      io::read_text_file(file.path);
    }
  }
  if (config.heldout.empty()) return;
  for (const LabelledFile& file : config.train) {
    const auto same = [&](const LabelledFile& held) { return held.label == file.label; };
    if (std::none_of(config.heldout.begin(), config.heldout.end(), same)) {
      progress.say(
          fmt::format("warning: no held-out text for '{}': it will not be measured", file.label));
    }
  }
}

// What transformers reads beside tokenizer.json: the class, and which token ends a text.
void write_tokenizer_config(const fs::path& out, const text::Tokenizer& tokenizer) {
  nlohmann::json json = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  if (tokenizer.token_to_id(kEndOfText)) json["eos_token"] = json["bos_token"] = kEndOfText;
  sys::write_file_atomically((out / "tokenizer_config.json").string(), json.dump(2) + "\n");
}

std::vector<LabelledTokens> encode_all(const text::Tokenizer& tokenizer,
                                       const std::vector<LabelledFile>& files, int eos_id,
                                       sys::ThreadPool& pool) {
  std::vector<LabelledTokens> texts(files.size());
  std::vector<std::exception_ptr> errors(files.size());
  pool.parallel_tasks(static_cast<std::int64_t>(files.size()), [&](std::int64_t i) {
    const auto f = static_cast<std::size_t>(i);
    try {
      texts[f] = load_labelled(tokenizer, files[f], eos_id);
    } catch (...) {
      errors[f] = std::current_exception();
    }
  });
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  return texts;
}

// Measured speed, smoothed so that the line does not flicker.
class Speed {
 public:
  void add(double tokens, double seconds) {
    const double now = tokens / std::max(1e-9, seconds);
    smooth_ = smooth_ == 0 ? now : 0.9 * smooth_ + 0.1 * now;
    tokens_ += tokens;
    seconds_ += seconds;
  }
  double recent() const { return smooth_; }
  double overall() const { return seconds_ > 0 ? tokens_ / seconds_ : 0; }

 private:
  double smooth_ = 0, tokens_ = 0, seconds_ = 0;
};

// Refuses a model that cannot fit before a byte of it is taken: f32 weights, gradients and two
// AdamW moments, and packed copies for the forward and the backward pass.
void refuse_too_large(const nn::TransformerConfig& model, DType compute) {
  const double packed = 2.0 * static_cast<double>(dtype_size(compute));
  const double needed = static_cast<double>(nn::count_parameters(model).total) * (16 + packed);
  const auto available = static_cast<double>(sys::available_memory());
  if (available > 0 && needed > available) {
    fail(ErrorKind::kOutOfMemory,
         "training this model takes at least {:.1f} GB for weights and optimiser, and {:.1f} GB of "
         "memory are free: reduce model.width, model.layers, model.experts or model.expert_width",
         needed / 1e9, available / 1e9);
  }
}

class Run {
 public:
  Run(ops::Context& context, const io::Recipe& recipe, const RunOptions& options)
      : context_(context), recipe_(recipe), options_(options), out_(options.out) {}

  RunResult execute();

 private:
  void prepare();
  void resume();
  void loop();
  void calibrate();
  void after_step(const StepReport& report);
  void checkpoint();
  void finish();
  void write_figures(const HeldoutReport& heldout);
  std::string checkpoints() const { return (out_ / "checkpoints").string(); }

  ops::Context& context_;
  const io::Recipe& recipe_;
  RunOptions options_;
  fs::path out_;
  std::unique_ptr<TrainingProgress> progress_;
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<History> history_;
  BalanceWatch watch_;
  Speed speed_;
  Clock::time_point start_ = Clock::now();
  double setup_seconds_ = 0;
  std::int64_t saved_step_ = -1;
};

void Run::prepare() {
  std::error_code error;
  fs::create_directories(out_, error);
  if (error) fail(ErrorKind::kIo, "{}: cannot be created: {}", out_.string(), error.message());
  TrainConfig config = make_config(recipe_);
  refuse_too_large(config.model, config.compute);
  const bool used = fs::exists(checkpoints()) && !io::list_checkpoints(checkpoints()).empty();
  if (used && !options_.resume) {
    fail(ErrorKind::kInvalidArgument,
         "{} holds the checkpoints of an earlier run: go on with --resume, or choose another --out",
         out_.string());
  }
  TrainingProgress setup(0, 0, options_.quiet);
  check_texts(config, setup);
  const text::Tokenizer tokenizer =
      prepare_tokenizer(config, out_, options_.resume, context_.pool.size(), setup);
  config.model.vocab_size = tokenizer.vocab_size();
  config.model.eos_id = tokenizer.token_to_id(kEndOfText).value_or(-1);
  config.model.bos_id = config.model.eos_id;
  write_tokenizer_config(out_, tokenizer);
  sys::write_file_atomically((out_ / "recipe.toml").string(), recipe_.to_toml());
  auto train = encode_all(tokenizer, config.train, config.model.eos_id, context_.pool);
  auto heldout = encode_all(tokenizer, config.heldout, config.model.eos_id, context_.pool);
  std::int64_t tokens = 0, bytes = 0;
  for (const LabelledTokens& text : train) {
    tokens += static_cast<std::int64_t>(text.ids.size());
    bytes += text.bytes;
  }
  setup.say(fmt::format(
      "data: {} {}, {} tokens, {:.2f} bytes a token", train.size(),
      train.size() == 1 ? "text" : "texts", format_count(static_cast<double>(tokens)),
      static_cast<double>(bytes) / static_cast<double>(std::max<std::int64_t>(1, tokens))));
  TrainingData data(std::move(train), config.sequence, config.seed);
  trainer_ = std::make_unique<Trainer>(context_, config, std::move(data), std::move(heldout));
  const nn::ParameterCounts counts = nn::count_parameters(trainer_->config().model);
  setup.say(fmt::format("model: {} parameters, {} active a token",
                        format_count(static_cast<double>(counts.total)),
                        format_count(static_cast<double>(counts.active))));
  const sys::Roofline roof = sys::measure_roofline(context_.pool, 0.3);
  const bool bf16 = config.compute == DType::kBF16 && roof.bf16_gflops > 0;
  progress_ = std::make_unique<TrainingProgress>(trainer_->flops_per_token(),
                                                 1e9 * (bf16 ? roof.bf16_gflops : roof.f32_gflops),
                                                 options_.quiet);
}

void Run::resume() {
  if (options_.resume) {
    const io::CheckpointFound found = io::latest_valid_checkpoint(checkpoints());
    for (const std::string& message : found.skipped) progress_->say("warning: " + message);
    if (!found.directory.empty()) {
      with_context(found.directory, [&] { trainer_->restore(found.directory); });
      saved_step_ = trainer_->steps_done();
      progress_->say(fmt::format("resumed at step {}", saved_step_));
    }
  }
  history_ = std::make_unique<History>((out_ / "history.jsonl").string(), trainer_->steps_done());
}

// Chooses the number of steps so that the run takes about the recipe's minutes from here on.
void Run::calibrate() {
  const std::int64_t done = trainer_->steps_done();
  if (trainer_->total_steps() > 0 || done < kCalibrationSteps) return;
  const TrainConfig& config = trainer_->config();
  const double per_step = static_cast<double>(config.batch) * config.sequence / speed_.overall();
  const double left = 60 * config.minutes - (seconds_since(start_) - setup_seconds_);
  // A twentieth is left for measuring and saving on the way.
  const auto more = static_cast<std::int64_t>(0.95 * left / per_step);
  trainer_->set_total_steps(done + std::max<std::int64_t>(1, more));
}

void Run::checkpoint() {
  if (saved_step_ == trainer_->steps_done()) return;
  io::CheckpointOptions options;
  options.keep_last = trainer_->config().keep_checkpoints;
  history_->flush();
  io::save_checkpoint(
      checkpoints(), trainer_->steps_done(),
      [&](const std::string& directory) {
        trainer_->save(directory);
        for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
          fs::copy_file(out_ / file, fs::path(directory) / file);
        }
      },
      options);
  saved_step_ = trainer_->steps_done();
}

void Run::after_step(const StepReport& report) {
  const TrainConfig& config = trainer_->config();
  speed_.add(static_cast<double>(config.batch) * config.sequence, report.seconds);
  calibrate();
  const std::int64_t total = trainer_->total_steps();
  const double per_step = static_cast<double>(config.batch) * config.sequence / speed_.recent();
  progress_->show(report, total, speed_.recent(),
                  static_cast<double>(total - report.step) * per_step);
  const std::string warning = watch_.observe(report);
  if (!warning.empty()) progress_->say("warning: " + warning);

  const bool last = report.step == total;
  const bool measure = config.eval_every > 0 && report.step % config.eval_every == 0 && !last &&
                       !config.heldout.empty();
  if (measure || report.step % config.log_every == 0) {
    HistoryEntry entry;
    entry.step = report.step;
    entry.tokens = report.tokens;
    entry.loss = report.loss;
    entry.learning_rate = report.learning_rate;
    entry.tokens_per_second = speed_.recent();
    entry.seconds = report.seconds;
    entry.gradient_norm = report.gradient_norm;
    entry.load_balance = report.auxiliary.load_balance;
    entry.z_loss = report.auxiliary.z_loss;
    for (const auto& routing : report.routing_L) {
      entry.maxvio_L.push_back(routing.balance().max_violation);
    }
    if (measure) {
      const HeldoutReport heldout = trainer_->evaluate_heldout(config.eval_tokens);
      entry.heldout_loss = heldout.mean.nll_per_token;
      entry.heldout_per_byte = heldout.mean.nll_per_byte;
      progress_->say(fmt::format("step {}: held-out loss {:.3f} a token, {:.3f} a byte",
                                 report.step, heldout.mean.nll_per_token,
                                 heldout.mean.nll_per_byte));
    }
    history_->add(std::move(entry));
  }
  if (config.checkpoint_every > 0 && report.step % config.checkpoint_every == 0 && !last)
    checkpoint();
}

void Run::loop() {
  setup_seconds_ = seconds_since(start_);
  const auto unfinished = [&] {
    return trainer_->total_steps() == 0 || trainer_->steps_done() < trainer_->total_steps();
  };
  while (unfinished() && !sys::interrupted()) after_step(trainer_->step());
}

void Run::write_figures(const HeldoutReport& heldout) {
  const nn::ParameterCounts counts = nn::count_parameters(trainer_->config().model);
  nlohmann::json json = {
      {"steps", trainer_->steps_done()},
      {"train_tokens",
       trainer_->steps_done() * trainer_->config().batch * trainer_->config().sequence},
      {"tokens_per_second", speed_.overall()},
      {"params_total", counts.total},
      {"params_active", counts.active},
      {"flops_per_token", trainer_->flops_per_token()},
      {"threads", context_.pool.size()},
  };
  for (const auto& [label, loss] : heldout.by_label) {
    json["heldout_nll_per_byte"][label] = loss.nll_per_byte;
    json["heldout_nll_per_token"][label] = loss.nll_per_token;
  }
  if (!heldout.by_label.empty()) {
    json["heldout_nll_per_byte"]["mean"] = heldout.mean.nll_per_byte;
    json["heldout_nll_per_token"]["mean"] = heldout.mean.nll_per_token;
    json["maxvio"] = worst_violation(heldout.routing_L);
  }
  sys::write_file_atomically((out_ / "training.json").string(), json.dump(2) + "\n");
}

void Run::finish() {
  progress_->finish();
  checkpoint();
  const HeldoutReport heldout = trainer_->evaluate_heldout(trainer_->config().final_eval_tokens);
  if (!heldout.by_label.empty() && !history_->entries().empty()) {
    HistoryEntry entry = history_->entries().back();
    entry.heldout_loss = heldout.mean.nll_per_token;
    entry.heldout_per_byte = heldout.mean.nll_per_byte;
    history_->replace_last(std::move(entry));
    progress_->say(fmt::format("held-out loss {:.3f} a token, {:.3f} a byte; maxvio {:.2f}",
                               heldout.mean.nll_per_token, heldout.mean.nll_per_byte,
                               worst_violation(heldout.routing_L)));
  }
  history_->flush();
  models::save_model(trainer_->transformer(), out_.string(), DType::kF32);
  write_figures(heldout);
}

RunResult Run::execute() {
  const sys::InterruptGuard guard;
  prepare();
  resume();
  loop();
  RunResult result;
  result.interrupted = sys::interrupted();
  sys::clear_interrupt();  // saving and the last measurement may be stopped by another signal
  if (result.interrupted) progress_->say("\nstopping: writing a checkpoint");
  finish();
  result.steps = trainer_->steps_done();
  result.tokens = result.steps * trainer_->config().batch * trainer_->config().sequence;
  return result;
}

}  // namespace

RunResult run_training(ops::Context& context, const io::Recipe& recipe, const RunOptions& options) {
  return Run(context, recipe, options).execute();
}

}  // namespace conclave::train

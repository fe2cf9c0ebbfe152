#include "text/normalizer.h"

#include <utility>
#include <vector>

#include "base/error.h"
#include "text/display.h"

namespace conclave::text {
namespace {

constexpr int kMaxNesting = 8;

class SequenceNormalizer : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> steps)
      : steps_(std::move(steps)) {}
  void apply(NormalText& text, RegexScratch& scratch) const override {
    for (const auto& step : steps_) step->apply(text, scratch);
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

std::unique_ptr<Normalizer> make_nested(const JsonView& config, int depth) {
  const std::string& type = config.text("type");
  if (type == "Sequence") {
    if (depth == kMaxNesting) {
      fail(ErrorKind::kUnsupported, "key '{}': sequences nested deeper than {}", config.path(),
           kMaxNesting);
    }
    const JsonView list = config.at("normalizers");
    std::vector<std::unique_ptr<Normalizer>> steps;
    for (std::size_t i = 0; i < list.size(); ++i) {
      steps.push_back(make_nested(list.at(i), depth + 1));
    }
    return std::make_unique<SequenceNormalizer>(std::move(steps));
  }
  using Make = std::unique_ptr<Normalizer> (*)(const std::string&, const JsonView&);
  for (const Make make :
       {&make_unicode_normalizer, &make_edit_normalizer, &make_precompiled_normalizer}) {
    if (auto result = make(type, config)) return result;
  }
  fail(ErrorKind::kUnsupported, "key '{}': normalizer '{}' is not known", config.path(),
       display_text(type));
}

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const JsonView& config) {
  return make_nested(config, 0);
}

}  // namespace conclave::text

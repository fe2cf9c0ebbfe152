#include "text/tokenizer_file.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/display.h"

namespace conclave::text {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxValues = 4'000'000;

constexpr std::array<std::string_view, 7> kKnownKeys = {
    "version", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"};

// Receives nlohmann-json's events. `levels_` holds the objects and arrays that are open.
class Reader : public nlohmann::json_sax<json> {
 public:
  explicit Reader(TokenizerFile& file) : file_(file) {}

  bool null() override {
    value(nullptr);
    return true;
  }
  bool boolean(bool v) override {
    value(v);
    return true;
  }
  bool number_integer(number_integer_t v) override {
    integer(v);
    return true;
  }
  bool number_unsigned(number_unsigned_t v) override {
    if (v > static_cast<number_unsigned_t>(INT64_MAX)) {
      number(static_cast<double>(v));
    } else {
      integer(static_cast<std::int64_t>(v));
    }
    return true;
  }
  bool number_float(number_float_t v, const string_t&) override {
    number(v);
    return true;
  }
  bool string(string_t& v) override {
    text(v);
    return true;
  }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override {
    open(true);
    return true;
  }
  bool start_array(std::size_t) override {
    open(false);
    return true;
  }
  bool key(string_t& name) override {
    key_ = std::move(name);
    return true;
  }
  bool end_object() override {
    levels_.pop_back();
    return true;
  }
  bool end_array() override {
    if (levels_.back().kind == Kind::kPair) finish_pair();
    levels_.pop_back();
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // The library's text repeats the input around the error, however long; its end says enough.
    std::string what = error.what();
    if (what.size() > 200) what = what.substr(0, 100) + " ... " + what.substr(what.size() - 90);
    fail(ErrorKind::kBadFile, "not valid JSON at byte {}: {}", position, display_text(what));
  }

 private:
  enum class Kind {
    kTree,         // becomes part of root
    kSkipped,      // a key that does not matter
    kVocabObject,  // {token: id}
    kVocabList,    // [[token, score], ...]
    kMerges,       // ["left right", ...] or [["left", "right"], ...]
    kPair,         // one entry of the last two
  };
  struct Level {
    Kind kind;
    bool object;
    json* tree = nullptr;  // kTree: the object or array; stable while it is open
  };

  [[noreturn]] void wrong(std::string_view found) const {
    const Kind kind = levels_.back().kind;
    const char* const where = kind == Kind::kMerges || merging_ ? "model.merges" : "model.vocab";
    const char* const want = kind == Kind::kVocabObject ? "a token's id, a whole number"
                             : kind == Kind::kMerges    ? "\"left right\" or [\"left\", \"right\"]"
                             : merging_                 ? "[\"left\", \"right\"]"
                                                        : "[token, score]";
    fail(ErrorKind::kBadFile, "{}: found {}, expected {}", where, found, want);
  }

  // What a value that begins now belongs to.
  Kind kind_of_child(bool object) {
    if (levels_.empty()) {
      if (!object) fail(ErrorKind::kBadFile, "the file is not a JSON object");
      return Kind::kTree;
    }
    const Level& parent = levels_.back();
    switch (parent.kind) {
      case Kind::kSkipped:
        return Kind::kSkipped;
      case Kind::kVocabObject:
      case Kind::kPair:
        wrong(object ? "an object" : "a list");
      case Kind::kVocabList:
      case Kind::kMerges:
        if (object) wrong("an object");
        return Kind::kPair;
      case Kind::kTree:
        break;
    }
    if (levels_.size() == 1 &&
        std::find(kKnownKeys.begin(), kKnownKeys.end(), key_) == kKnownKeys.end()) {
      return Kind::kSkipped;
    }
    if (levels_.size() == 2 && in_model_) {
      if (key_ == "vocab") return object ? Kind::kVocabObject : Kind::kVocabList;
      if (key_ == "merges" && !object) return Kind::kMerges;
    }
    return Kind::kTree;
  }

  void open(bool object) {
    if (levels_.size() == kMaxDepth) {
      fail(ErrorKind::kBadFile, "nested deeper than {} levels", kMaxDepth);
    }
    const Kind kind = kind_of_child(object);
    json* tree = nullptr;
    switch (kind) {
      case Kind::kTree:
        if (levels_.size() == 1) in_model_ = key_ == "model";
        tree = insert(object ? json::object() : json::array());
        break;
      case Kind::kVocabObject:
      case Kind::kVocabList:
        if (file_.has_vocab || file_.has_scored_vocab) twice();
        (object ? file_.has_vocab : file_.has_scored_vocab) = true;
        break;
      case Kind::kMerges:
        if (file_.has_merges) twice();
        file_.has_merges = true;
        break;
      case Kind::kPair:
        merging_ = levels_.back().kind == Kind::kMerges;
        n_texts_ = 0;
        has_score_ = false;
        break;
      case Kind::kSkipped:
        break;
    }
    levels_.push_back({kind, object, tree});
  }

  [[noreturn]] void twice() const {
    fail(ErrorKind::kBadFile, "key '{}' is there twice", display_text(key_));
  }

  json* insert(json v) {
    if (++values_ > kMaxValues) {
      fail(ErrorKind::kUnsupported, "more than {} values beside the vocabulary", kMaxValues);
    }
    if (levels_.empty()) {
      file_.root = std::move(v);
      return &file_.root;
    }
    const Level& parent = levels_.back();
    if (parent.object) {
      const auto [at, added] = parent.tree->emplace(key_, std::move(v));
      if (!added) twice();
      return &*at;
    }
    parent.tree->push_back(std::move(v));
    return &parent.tree->back();
  }

  bool skipped() const {
    if (levels_.empty()) fail(ErrorKind::kBadFile, "the file is not a JSON object");
    return levels_.back().kind == Kind::kSkipped;
  }

  void value(json v) {
    if (skipped()) return;
    if (levels_.back().kind != Kind::kTree) wrong(v.dump());
    insert(std::move(v));
  }

  void integer(std::int64_t v) {
    if (skipped()) return;
    if (levels_.back().kind == Kind::kVocabObject) {
      file_.vocab.emplace_back(std::move(key_), v);
    } else if (levels_.back().kind == Kind::kPair) {
      number(static_cast<double>(v));
    } else {
      value(v);
    }
  }

  void number(double v) {
    if (skipped()) return;
    if (levels_.back().kind == Kind::kPair && !merging_ && n_texts_ == 1 && !has_score_) {
      score_ = v;
      has_score_ = true;
    } else {
      value(v);
    }
  }

  void text(std::string& v) {
    if (skipped()) return;
    if (levels_.back().kind == Kind::kPair) {
      if (n_texts_ == (merging_ ? 2 : 1)) wrong("more strings");
      texts_[static_cast<std::size_t>(n_texts_++)] = std::move(v);
    } else if (levels_.back().kind == Kind::kMerges) {
      split_merge(v);
    } else if (levels_.back().kind == Kind::kTree) {
      insert(std::move(v));
    } else {
      wrong("a string");
    }
  }

  // Lists of the older form came from files that may begin with a comment.
  void split_merge(const std::string& line) {
    if (line.starts_with("#version")) return;
    const std::size_t space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) {
      wrong("'" + display_text(line) + "'");
    }
    file_.merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }

  void finish_pair() {
    if (merging_) {
      if (n_texts_ != 2) wrong("a list of another length");
      file_.merges.emplace_back(std::move(texts_[0]), std::move(texts_[1]));
    } else {
      if (n_texts_ != 1 || !has_score_) wrong("a list of another form");
      file_.scored_vocab.emplace_back(std::move(texts_[0]), score_);
    }
  }

  TokenizerFile& file_;
  std::vector<Level> levels_;
  std::string key_;
  bool in_model_ = false;
  std::size_t values_ = 0;
  // The kPair that is open.
  bool merging_ = false;
  std::array<std::string, 2> texts_;
  int n_texts_ = 0;
  double score_ = 0;
  bool has_score_ = false;
};

}  // namespace

TokenizerFile parse_tokenizer_file(std::string_view text) {
  TokenizerFile file;
  Reader reader(file);
  json::sax_parse(text.begin(), text.end(), &reader);
  return file;
}

}  // namespace conclave::text
